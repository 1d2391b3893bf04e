//! Rules for names, labels and the like, with upstream's messages.

/// RFC 1123 label: at most 63 bytes of `[a-z0-9-]`. The error is upstream's message.
pub fn is_dns_label(_text: &str) -> Result<(), String> {
    todo!()
}
/// RFC 1123 subdomain: at most 253 bytes of labels joined by dots.
pub fn is_dns_subdomain(_text: &str) -> Result<(), String> {
    todo!()
}
/// A label's or annotation's key: `[prefix/]name`.
pub fn is_label_key(_text: &str) -> Result<(), String> {
    todo!()
}
pub fn is_label_value(_text: &str) -> Result<(), String> {
    todo!()
}
/// A ConfigMap's or Secret's key.
pub fn is_config_key(_text: &str) -> Result<(), String> {
    todo!()
}
/// An environment variable's name (any printable ASCII but `=`, as upstream since 1.34).
pub fn is_env_name(_text: &str) -> Result<(), String> {
    todo!()
}
/// A container port's name.
pub fn is_port_name(_text: &str) -> Result<(), String> {
    todo!()
}
