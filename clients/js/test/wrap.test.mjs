/** An application behind `offload wrap`, which tests/clients/test_js.py starts: its own answers, by way of a task. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { offloadFetch } from "../client.js";

const url = process.env.OFFLOAD_URL;
const options = { skip: url ? false : "OFFLOAD_URL names no server", timeout: 120_000 };

const shown = async (response) => [response.status, response.headers.get("Content-Type"), response.headers.get("X-Mine"), await response.text()];

for (const status of [200, 201, 202, 404, 418, 503]) {
  test(`a ${status} of the application is the result, as fetch would have had it`, options, async () => {
    const address = `${url}/${status}?a=1&b=2`;
    const init = { method: "POST", body: new URLSearchParams({ name: "ü & x" }) };
    const tasks = [];
    const response = await offloadFetch(address, { ...init, onTask: (task) => tasks.push(task) });
    assert.deepEqual(await shown(response), await shown(await fetch(address, init)));
    assert.equal(tasks.length, 1);
  });
}

test("one that was waited for on submission is told at once", options, async () => {
  const tasks = [];
  const response = await offloadFetch(`${url}/503`, { headers: { Prefer: "wait=30" }, onTask: (task) => tasks.push(task) });
  assert.deepEqual([response.status, response.headers.get("X-Mine"), tasks.length], [503, "GET ", 0]);
});
