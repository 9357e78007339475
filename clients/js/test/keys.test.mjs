/** Both clients against a server with keys, which tests/clients/test_js.py starts. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Offload, offloadFetch } from "../client/offload.js";
import { until } from "./scripted.mjs";

const { OFFLOAD_URL: url, OFFLOAD_KEY: key } = process.env;
const options = { skip: key ? false : "OFFLOAD_KEY is no key", timeout: 120_000 };

test("with a key everything works: submitting, streaming, polling, canceling", options, async () => {
  const client = new Offload(url, { key });
  for (const stream of [true, false]) {
    const seen = [];
    const response = await client.call("count", { to: 2 }, { stream, onProgress: (state) => seen.push(state.status) });
    assert.deepEqual([await response.json(), seen[0]], [[1, 2], "QUEUED"]);
  }
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
  const control = new AbortController();
  let id;
  const init = { method: "POST", body: '{"seconds": 600}', headers, signal: control.signal, onTask: (task) => (id = task.id) };
  const answer = offloadFetch(`${url}/v1/jobs/nap`, init);
  await until(() => id, "there is a task");
  control.abort();
  await assert.rejects(answer, { name: "AbortError" });
  assert.equal((await client.wait(id)).status, "CANCELED");
});

test("without one, a refusal comes through at once", options, async () => {
  const response = await offloadFetch(`${url}/v1/jobs/add`, { method: "POST", body: "{}" });
  assert.deepEqual([response.status, (await response.json()).code], [401, "KeyRequired"]);
  await assert.rejects(new Offload(url).submit("add", { a: 1, b: 2 }), { code: "KeyRequired" });
  await assert.rejects(new Offload(url, { key: "ofl_wrong" }).list().next(), { status: 401 });
});
