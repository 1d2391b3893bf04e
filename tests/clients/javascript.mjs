// The official JavaScript client against $KUBECONFIG: create, read, list, watch, patch, delete.
// Its folder of modules is the first argument.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const k8s = await import(createRequire(process.argv[2] + "/x.js").resolve("@kubernetes/client-node"));

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const namespace = "default";
const name = "js";

const body = { metadata: { name, labels: { by: "javascript" } }, data: { a: "1" } };
const created = await core.createNamespacedConfigMap({ namespace, body });
assert.ok(created.metadata.uid);

const patched = await core.patchNamespacedConfigMap({
  name,
  namespace,
  body: [{ op: "add", path: "/data/b", value: "2" }],
});
assert.deepEqual(patched.data, { a: "1", b: "2" });

const apply = (data, options = {}) =>
  core.patchNamespacedConfigMap(
    { name: "applied", namespace, fieldManager: "js", ...options, body: { apiVersion: "v1", kind: "ConfigMap", data } },
    k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.ServerSideApply),
  );
const once = await apply({ a: "1" });
assert.equal((await apply({ a: "1" })).metadata.resourceVersion, once.metadata.resourceVersion);
await assert.rejects(apply({ a: "2" }, { fieldManager: "other" }), (error) => error.code === 409);
assert.deepEqual((await apply({ a: "2" }, { fieldManager: "other", force: true })).data, { a: "2" });
await core.deleteNamespacedConfigMap({ name: "applied", namespace });

const listed = await core.listNamespacedConfigMap({ namespace, labelSelector: "by=javascript" });
assert.deepEqual(listed.items.map((item) => item.metadata.name), [name]);

const seen = await new Promise((resolve, reject) => {
  const watch = new k8s.Watch(config);
  const late = setTimeout(() => reject(new Error("the watch saw nothing")), 10_000);
  watch
    .watch(
      "/api/v1/namespaces/default/configmaps",
      { resourceVersion: listed.metadata.resourceVersion, labelSelector: "by=javascript" },
      (type, object) => {
        clearTimeout(late);
        resolve([type, object.metadata.name]);
      },
      () => {},
    )
    .then(() => core.deleteNamespacedConfigMap({ name, namespace }))
    .catch(reject);
});
assert.deepEqual(seen, ["DELETED", name]);
await assert.rejects(core.readNamespacedConfigMap({ name, namespace }), (error) => error.code === 404);
console.log("javascript: ok");
process.exit(0);
