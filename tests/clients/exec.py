"""The official Python client in the pod `web` of $KUBECONFIG: exec, attach's kin, logs, a watch of what happens."""

from kubernetes import client, config, watch
from kubernetes.stream import stream

config.load_kube_config()
core = client.CoreV1Api()


def run(*command, **options):
    options = {"stderr": True, "stdin": False, "stdout": True, "tty": False} | options
    return stream(core.connect_get_namespaced_pod_exec, "web", "default", command=list(command), **options)


assert run("echo", "one", "two") == "one two\n"
assert run("sh", "-c", "echo to errors >&2") == "to errors\n"

talk = run("sh", "-c", "read line; echo got $line; echo no >&2; exit 3", stdin=True, _preload_content=False)
talk.write_stdin("a word\n")
talk.run_forever(timeout=20)
assert (talk.read_stdout(), talk.read_stderr(), talk.returncode) == ("got a word\n", "no\n", 3)

many = run("sh", "-c", "seq 1 20000")
assert many.splitlines()[-1] == "20000" and len(many.splitlines()) == 20000

assert core.read_namespaced_pod_log("web", "default") == "hello\n"
followed = watch.Watch().stream(core.read_namespaced_pod_log, "web", "default", _request_timeout=20)
assert next(followed) == "hello"

# What becomes of a pod, from its making to its end.
container = client.V1Container(name="c", image="localhost/busybox:1", command=["true"])
spec = client.V1PodSpec(containers=[container], restart_policy="Never", termination_grace_period_seconds=0)
before = core.list_namespaced_pod("default").metadata.resource_version
core.create_namespaced_pod("default", client.V1Pod(metadata=client.V1ObjectMeta(name="py"), spec=spec))
phases = []
watched = watch.Watch()
for event in watched.stream(
    core.list_namespaced_pod, "default", field_selector="metadata.name=py", resource_version=before, timeout_seconds=30
):
    phases.append((event["type"], event["object"].status.phase))
    if phases[-1] == ("MODIFIED", "Succeeded"):
        core.delete_namespaced_pod("py", "default")
    if event["type"] == "DELETED":
        break
assert phases[0] == ("ADDED", "Pending") and phases[-1][0] == "DELETED", phases
print("python: ok")
