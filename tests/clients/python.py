"""The official Python client against $KUBECONFIG: create, read, list, watch, patch, delete."""

import json

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core = client.CoreV1Api()
apps = client.AppsV1Api()

created = core.create_namespaced_config_map(
    "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="py", labels={"by": "python"}), data={"a": "1"})
)
assert created.metadata.uid and created.data == {"a": "1"}, created

patched = core.patch_namespaced_config_map("py", "default", {"data": {"b": "2"}})
assert patched.data == {"a": "1", "b": "2"}, patched
patched = core.patch_namespaced_config_map("py", "default", [{"op": "remove", "path": "/data/a"}])
assert patched.data == {"b": "2"}, patched

listed = core.list_namespaced_config_map("default", label_selector="by=python", limit=1)
assert [item.metadata.name for item in listed.items] == ["py"], listed

seen = []
core.delete_namespaced_config_map("py", "default")
for event in watch.Watch().stream(
    core.list_namespaced_config_map,
    "default",
    resource_version=listed.metadata.resource_version,
    label_selector="by=python",
    timeout_seconds=5,
):
    seen.append((event["type"], event["object"].metadata.name))
    break
assert seen == [("DELETED", "py")], seen

try:
    core.read_namespaced_config_map("py", "default")
    raise SystemExit("a deleted config map is still there")
except ApiException as error:
    assert error.status == 404 and "not found" in error.body, error

container = client.V1Container(name="a", image="busybox", ports=[client.V1ContainerPort(container_port=80)])
template = client.V1PodTemplateSpec(
    metadata=client.V1ObjectMeta(labels={"app": "py"}), spec=client.V1PodSpec(containers=[container])
)
spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(match_labels={"app": "py"}), template=template)
apps.create_namespaced_deployment("default", client.V1Deployment(metadata=client.V1ObjectMeta(name="py"), spec=spec))
assert apps.read_namespaced_deployment("py", "default").spec.template.spec.containers[0].image == "busybox"
apps.delete_namespaced_deployment("py", "default")

# Server-side apply, twice, and against another.
def apply(data, manager="py", **options):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": data}
    return core.patch_namespaced_config_map(
        "applied", "default", body, field_manager=manager, _content_type="application/apply-patch+yaml", **options
    )


first = apply({"a": "1", "b": "1"})
assert apply({"a": "1", "b": "1"}).metadata.resource_version == first.metadata.resource_version
try:
    apply({"a": "2"}, "other")
    raise SystemExit("a conflict went by")
except ApiException as error:
    assert error.status == 409 and 'conflict with "py": .data.a' in json.loads(error.body)["message"], error
assert apply({"a": "2"}, "other", force=True).data == {"a": "2", "b": "1"}
assert apply({"b": "1"}).data == {"a": "2", "b": "1"}
core.delete_namespaced_config_map("applied", "default")

# By discovery, as ansible does it.
secrets = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="Secret")
secrets.create(body={"metadata": {"name": "py"}, "stringData": {"a": "b"}}, namespace="default")
assert secrets.get(name="py", namespace="default").data.a == "Yg=="
secrets.server_side_apply(
    body={"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "py"}, "data": {"c": "Yg=="}},
    namespace="default",
    field_manager="py",
)
patched = secrets.patch(
    body={"data": {"a": None}}, name="py", namespace="default", content_type="application/merge-patch+json"
)
assert patched.data.to_dict() == {"c": "Yg=="}, patched
listed = secrets.get(namespace="default", field_selector="metadata.name=py")
assert [item.metadata.name for item in listed.items] == ["py"], listed
secrets.delete(name="py", namespace="default")
for event in secrets.watch(namespace="default", resource_version=listed.metadata.resourceVersion, timeout=5):
    assert (event["type"], event["object"].metadata.name) == ("DELETED", "py"), event
    break
print("python: ok")
