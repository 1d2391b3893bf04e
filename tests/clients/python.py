"""The official Python client against $KUBECONFIG: create, read, list, watch, patch, delete."""

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

# By discovery, as ansible does it.
secrets = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="Secret")
secrets.create(body={"metadata": {"name": "py"}, "stringData": {"a": "b"}}, namespace="default")
assert secrets.get(name="py", namespace="default").data.a == "Yg=="
secrets.delete(name="py", namespace="default")
print("python: ok")
