//! The discovery documents, made from the kinds table.

use serde_json::Value;

/// `GET /api` (legacy). `address` is `host:port` as the client reaches it.
pub fn api_versions(_address: &str) -> Value {
    todo!()
}
/// `GET /apis` (legacy): an APIGroupList.
pub fn api_groups() -> Value {
    todo!()
}
/// `GET /apis/G`: an APIGroup; None for a group that is not there.
pub fn api_group(_group: &str) -> Option<Value> {
    todo!()
}
/// `GET /api/v1` and `GET /apis/G/V`: an APIResourceList; None for a version that is not there.
pub fn api_resources(_group: &str, _version: &str) -> Option<Value> {
    todo!()
}
/// `GET /api` (`core`) or `/apis` with `Accept: …;as=APIGroupDiscoveryList;v=v2`.
pub fn aggregated(_core: bool) -> Value {
    todo!()
}
/// The content type that goes with [`aggregated`].
pub const AGGREGATED_CONTENT_TYPE: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// `GET /version`: `gitVersion` is `v1.37.0+midge<version>`.
pub fn version() -> Value {
    todo!()
}
/// `v1.37.0+midge<version>`, as nodes and `/version` say it.
pub fn git_version() -> String {
    todo!()
}
