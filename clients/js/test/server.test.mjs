/** Both clients against a real offload server, which tests/clients/test_js.py starts. */

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { Offload, OffloadError, offloadFetch } from "../client/offload.js";
import { until } from "./scripted.mjs";

const url = process.env.OFFLOAD_URL;
const options = { skip: url ? false : "OFFLOAD_URL names no server", timeout: 120_000 };
const client = url && new Offload(url);
const File = globalThis.File;
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest("hex");

const post = (job, body, init) =>
  offloadFetch(`${url}/v1/jobs/${job}`, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, ...init });

test("a call resolves to the result", options, async () => {
  const tasks = [];
  const response = await post("add", { a: 1, b: 2 }, { onTask: (task) => tasks.push(task) });
  assert.deepEqual([response.status, await response.json(), response.headers.get("Content-Type")], [200, 3, "application/json"]);
  assert.equal(tasks[0].url, `${url}/v1/tasks/${tasks[0].id}`);
  assert.equal(tasks[0].job, "add");
});

test("a file result comes with its own type, name and bytes", options, async () => {
  const body = new Blob(["quiet"], { type: "text/plain" });
  const response = await offloadFetch(`${url}/v1/jobs/shout`, { method: "POST", body });
  assert.equal(await response.text(), "QUIET");
  assert.match(response.headers.get("Content-Type"), /^text\/plain/);
  assert.match(response.headers.get("Content-Disposition"), /loud\.txt/);
});

test("a failed task and a refused request resolve to their problem", options, async () => {
  for (const [job, body, status, code] of [["refuse", { why: "no" }, 409, "TaskFailed"], ["add", { a: "x" }, 422, "WrongInput"], ["nosuch", {}, 404, "JobDoesNotExist"]]) {
    const response = await post(job, body);
    assert.deepEqual([response.status, response.headers.get("Content-Type")], [status, "application/problem+json"]);
    assert.equal((await response.json()).code, code);
  }
  await assert.rejects(client.call("refuse", { why: "no" }), (error) => error instanceof OffloadError && error.code === "TaskFailed");
  await assert.rejects(client.submit("add", { a: "x" }), (error) => error.status === 422 && error.problem.errors.length > 0);
});

test("progress arrives while it runs, by stream and by polling", options, async () => {
  for (const stream of [true, false]) {
    const told = [], events = [];
    const response = await post("count", { to: 4, pause_seconds: 1 }, { stream, onProgress: (state) => told.push(state), onEvent: (event) => events.push(event) });
    assert.deepEqual(await response.json(), [1, 2, 3, 4]);
    const fractions = told.map(({ progress }) => progress?.fraction).filter((fraction) => fraction && fraction < 1);
    assert.ok(fractions.length > 0, JSON.stringify(told));
    assert.equal(told[0].status, "QUEUED");
    assert.deepEqual(events.map(({ id }) => id), stream ? events.map((_, index) => index + 1) : []);
    if (stream) assert.deepEqual(events.filter(({ event }) => event === "output").map(({ data }) => data), [1, 2, 3, 4]);
  }
});

test("files go up in every form in which fetch takes them", options, async () => {
  const data = randomBytes(3_000_000);
  const form = new FormData();
  form.append("document", new File([data], "näme.bin", { type: "application/x-data" }));
  form.append("salt", "s");
  const address = `${url}/v1/jobs/digest`;
  const type = { "Content-Type": "application/x-data" };
  const bodies = [form, new Blob([data], { type: "application/x-data" }), data, () => new Blob([data]).stream(), new Blob([data]).stream()];
  for (const body of bodies) {
    const headers = body === form ? {} : type;
    const response = await offloadFetch(body === form ? address : `${address}?salt=s`, { method: "POST", body, headers });
    const found = await response.json();
    assert.deepEqual([found.size, found.sha256, found.type], [data.length, sha256("s", data), "application/x-data"]);
    if (body === form) assert.equal(found.name, "näme.bin");
  }
});

test("the client class sends parameters with files in them, raw files, and stored ones", options, async () => {
  const document = new File(["hello"], "hällo wörld.txt", { type: "text/plain" });
  const wanted = { name: "hällo wörld.txt", type: "text/plain", size: 5, sha256: sha256("xhello") };
  assert.deepEqual(await (await client.call("digest", { document, salt: "x" })).json(), wanted);
  assert.deepEqual(await (await client.call("digest", document, { query: { salt: "x" } })).json(), wanted);
  const documents = ["a", "b"].map((name) => new File([name], name));
  assert.deepEqual(await (await client.call("count_files", { documents, labels: { x: 1 } })).json(), [["a", "b"], { x: 1 }]);
  const stored = await client.uploadFile(document);
  assert.deepEqual([stored.size, stored.sha256], [5, sha256("hello")]);
  assert.deepEqual(await (await client.call("digest", { document: `file:${stored.id}`, salt: "x" })).json(), wanted);
});

test("a submission that is sent again is one task", options, async () => {
  let lost = 0;
  const fetch = async (request) => {
    const response = await globalThis.fetch(request);
    if (request.method === "POST" && lost++ < 2) throw new TypeError("the answer was lost");
    return response;
  };
  const tags = { once: crypto.randomUUID() };
  assert.equal(await (await client.call("add", { a: 2, b: 3 }, { tags, fetch })).json(), 5);
  const found = [];
  for await (const task of client.list({ tags })) found.push(task.id);
  assert.deepEqual([lost, found.length], [3, 1]);
});

test("aborting cancels the task, whether it waits, streams or was only just sent", options, async () => {
  for (const stream of [true, false]) {
    const control = new AbortController();
    let id;
    const answer = post("nap", { seconds: 600 }, { stream, signal: control.signal, onTask: (task) => (id = task.id) });
    await until(async () => id && (await client.get(id)).status === "RUNNING", "it runs");
    control.abort();
    await assert.rejects(answer, { name: "AbortError" });
    const task = await client.wait(id);
    assert.deepEqual([task.status, task.reason], ["CANCELED", "canceled"]);
  }
  const tags = { abandoned: crypto.randomUUID() };
  const control = new AbortController();
  const answer = client.call("nap", { seconds: 600 }, { tags, signal: control.signal });
  control.abort();
  await assert.rejects(answer, { name: "AbortError" });
  await until(async () => (await client.list({ tags }).next()).value?.status === "CANCELED", "it was canceled");
});

test("a task's life: submit, get, events, wait, result, logs, retry, delete", options, async () => {
  const task = await client.submit("count", { to: 3 }, { priority: 5, tags: { for: "life" }, runAt: new Date(), deadline: 60 });
  assert.deepEqual([task.job, task.priority, task.tags], ["count", 5, { for: "life" }]);
  const outputs = [];
  for await (const { event, data } of client.events(task.id)) if (event === "output") outputs.push(data);
  assert.deepEqual(outputs, [1, 2, 3]);
  assert.equal((await client.wait(task.id)).status, "DONE");
  assert.deepEqual(await (await client.result(task.id)).json(), [1, 2, 3]);
  assert.match(await client.logs(task.id), /counted 3/);
  await client.delete(task.id);
  assert.equal((await client.get(task.id)).status, "DELETED");
  await assert.rejects(client.result(task.id), { code: "TaskIsDeleted" });

  const failed = await client.submit("refuse", { why: "no" });
  assert.equal((await client.wait(failed.id)).status, "FAILED");
  assert.notEqual((await client.retry(failed.id)).attempt, undefined);
  assert.equal((await client.wait(failed.id)).attempt, 2);
  const statuses = [];
  for await (const { event, data } of client.events(failed.id)) if (event === "status") statuses.push(data.status);
  assert.equal(statuses.filter((status) => status === "FAILED").length, 2, `${statuses}`);

  const later = await client.submit("add", { a: 1, b: 1 }, { delay: 3600 });
  assert.equal((await client.cancel(later.id)).status, "CANCELED");
  await assert.rejects(client.result(later.id), { code: "TaskIsCanceled" });
  await assert.rejects(client.get("nonsense"), { code: "WrongTaskIdFormat" });
});

test("listing goes from page to page", options, async () => {
  const tags = { page: crypto.randomUUID() };
  const since = new Date(Date.now() - 60_000);
  for (let number = 0; number < 5; number++) await client.submit("add", { a: number, b: 0 }, { tags });
  const found = [];
  for await (const task of client.list({ tags, limit: 2, job: "add", createdAfter: since })) found.push(task.input.a);
  assert.deepEqual(found, [4, 3, 2, 1, 0]);
});

test("many at once all get their own result", options, async () => {
  const sums = await Promise.all(Array.from({ length: 150 }, async (_, number) => (await post("add", { a: number, b: 1 }, { onProgress() {} })).json()));
  assert.deepEqual(sums, Array.from({ length: 150 }, (_, number) => number + 1));
});

test("the server serves these very files", options, async () => {
  for (const path of ["client.js", "client.d.ts", "client/events.js", "client/offload.js", "client/offload.d.ts", "client/upload.js"]) {
    const response = await fetch(`${url}/${path}`);
    assert.equal(await response.text(), await readFile(new URL(`../${path}`, import.meta.url), "utf8"), path);
  }
});
