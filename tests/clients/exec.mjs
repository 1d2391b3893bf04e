// The official JavaScript client in the pod `web` of $KUBECONFIG: exec and logs. Its folder of modules is the first
// argument.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { PassThrough, Readable } from "node:stream";
import { text } from "node:stream/consumers";

const k8s = await import(createRequire(process.argv[2] + "/x.js").resolve("@kubernetes/client-node"));
const config = new k8s.KubeConfig();
config.loadFromDefault();

async function run(command, input) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const stdin = input === undefined ? null : Readable.from([input]);
  const read = [text(stdout), text(stderr)];
  const status = await new Promise((resolve, reject) => {
    new k8s.Exec(config).exec("default", "web", "c", command, stdout, stderr, stdin, false, resolve).catch(reject);
  });
  stdout.end();
  stderr.end();
  return [status, ...(await Promise.all(read))];
}

assert.deepEqual((await run(["echo", "one", "two"])).slice(1), ["one two\n", ""]);
const [status, out, err] = await run(["sh", "-c", "read a; echo got $a; echo no >&2; exit 3"], "a word\n");
assert.deepEqual([out, err], ["got a word\n", "no\n"]);
assert.equal(status.details.causes.find((cause) => cause.reason === "ExitCode").message, "3");

const log = new PassThrough();
const core = config.makeApiClient(k8s.CoreV1Api);
assert.equal(await core.readNamespacedPodLog({ name: "web", namespace: "default" }), "hello\n");
await new k8s.Log(config).log("default", "web", "c", log, { follow: false });
assert.equal(await text(log), "hello\n");
console.log("javascript: ok");
process.exit(0);
