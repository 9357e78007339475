/** When a request is sent again, and when not. */

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";

import { offloadFetch } from "../client.js";
import { ID, TASK, accepted, json, result, scripted, until } from "./scripted.mjs";

const submissions = (asked) => asked.filter(({ method }) => method === "POST");

for (const status of [429, 502, 503, 504, 507]) {
  test(`a submission answered ${status} is sent again under the same key, not before Retry-After`, async (t) => {
    const { url, asked } = await scripted(t, (request, response, asked) => {
      if (asked.length < 3) json(response, status, { code: "QueueFull" }, asked.length === 1 ? { "Retry-After": "1" } : {});
      else if (request.method === "POST") accepted(response);
      else result(response);
    });
    const response = await offloadFetch(`${url}/v1/jobs/slow`, { method: "POST", body: "the body" });
    assert.equal(await response.json(), "the result");
    assert.equal(submissions(asked).length, 3);
    assert.ok(asked[1].at - asked[0].at >= 990, "Retry-After was not obeyed");
    assert.equal(new Set(asked.slice(0, 3).map(({ headers }) => headers["idempotency-key"])).size, 1);
    assert.match(asked[0].headers["idempotency-key"], /^[0-9a-f]{32}$/);
    assert.deepEqual(asked.slice(0, 3).map(({ body }) => body), ["the body", "the body", "the body"]);
    assert.ok(asked.slice(0, 3).every(({ headers }) => headers.prefer === "respond-async"));
  });
}

test("Retry-After may be a date", async (t) => {
  const { url, asked } = await scripted(t, (request, response, asked) => {
    const date = new Date(Date.now() + 2000).toUTCString();
    if (asked.length === 1) json(response, 503, {}, { "Retry-After": date });
    else json(response, 200, "at once");
  });
  assert.equal(await (await offloadFetch(url)).json(), "at once");
  assert.ok(asked[1].at - asked[0].at >= 900); // dates have whole seconds
});

test("a Retry-After beyond what a timer can hold is not taken for none", async (t) => {
  const { url, asked } = await scripted(t, (request, response) => json(response, 503, {}, { "Retry-After": "99999999999" }));
  await assert.rejects(offloadFetch(url, { signal: AbortSignal.timeout(700) }), { name: "TimeoutError" });
  assert.equal(asked.length, 1);
});

test("the pauses are random and grow", async (t) => {
  const { url, asked } = await scripted(t, (request, response) => json(response, 503, { code: "QueueFull" }));
  const chances = [];
  t.mock.method(Math, "random", () => {
    chances.push(1);
    return 0.5;
  });
  assert.equal((await offloadFetch(url, { retries: 4 })).status, 503);
  const pauses = asked.slice(1).map(({ at }, index) => at - asked[index].at);
  assert.ok(chances.length >= 4);
  [100, 200, 400, 800].forEach((least, index) => assert.ok(pauses[index] >= least - 2, `${pauses}`));
});

test("connections that break are tried again, with the whole body", async (t) => {
  const { url, asked } = await scripted(t, (request, response, asked) => {
    if (asked.length < 4) request.socket.destroy();
    else if (request.method === "POST") accepted(response);
    else result(response);
  });
  const form = new FormData();
  form.append("file", new Blob(["x".repeat(100_000)]), "x.txt");
  const response = await offloadFetch(url, { method: "POST", body: form });
  assert.equal(response.status, 200);
  assert.ok(submissions(asked).every(({ body }) => body.length > 100_000 && body.includes('filename="x.txt"')));
  assert.equal(new Set(submissions(asked).map(({ headers }) => headers["idempotency-key"])).size, 1);
});

test("a server that is never there rejects as fetch does", async () => {
  await assert.rejects(offloadFetch("http://127.0.0.1:9", { retries: 1 }), TypeError);
});

test("what is wrong with the request itself is thrown at once", async (t) => {
  const { url, asked } = await scripted(t, (request, response) => json(response, 200, null));
  await assert.rejects(offloadFetch(url, { method: "GET", body: "no" }), TypeError);
  await assert.rejects(offloadFetch("not a url"), TypeError);
  assert.equal(asked.length, 0);
});

test("a body that can be read once is sent once; one from a function is made anew", async (t) => {
  const { url, asked } = await scripted(t, (request, response, asked) => {
    if (asked.length < 3) json(response, 503, {});
    else json(response, 200, null);
  });
  const stream = () => new Blob(["streamed"]).stream();
  const refused = await offloadFetch(url, { method: "POST", body: stream() });
  assert.deepEqual([refused.status, asked.length], [503, 1]);
  assert.equal((await offloadFetch(url, { method: "POST", body: stream })).status, 200);
  assert.deepEqual(asked.map(({ body }) => body), ["streamed", "streamed", "streamed"]);
});

test("a Request is taken as fetch takes it, and its body sent again", async (t) => {
  const { url, asked } = await scripted(t, (request, response, asked) => {
    if (asked.length < 3) json(response, 503, {});
    else if (request.method === "PUT") accepted(response);
    else result(response);
  });
  const request = new Request(url, { method: "PUT", body: "again", headers: { "X-Mine": "1", "Content-Type": "text/x" } });
  assert.equal((await offloadFetch(request)).status, 200);
  for (const { method, body, headers } of asked.slice(0, 3)) {
    assert.deepEqual([method, body, headers["x-mine"], headers["content-type"]], ["PUT", "again", "1", "text/x"]);
  }
  assert.deepEqual([asked[3].headers["x-mine"], asked[3].headers["content-type"]], ["1", undefined]);
});

test("the caller's own key and preferences are kept", async (t) => {
  const { url, asked } = await scripted(t, (request, response) => json(response, 200, null));
  await offloadFetch(url, { method: "POST", headers: { "Idempotency-Key": "mine", Prefer: "wait=3" } });
  assert.deepEqual([asked[0].headers["idempotency-key"], asked[0].headers.prefer], ["mine", "respond-async, wait=3"]);
});

test("polls obey Retry-After, survive refusals and broken connections, and send the key along", async (t) => {
  const { url, asked } = await scripted(t, (request, response, asked) => {
    if (request.method === "POST") accepted(response);
    else if (asked.length === 2) json(response, 202, { id: ID, status: "RUNNING" }, { "Retry-After": "1" });
    else if (asked.length === 3) json(response, 503, {});
    else if (asked.length === 4) request.socket.destroy();
    else result(response);
  });
  const headers = { Authorization: "Bearer ofl_x", "Content-Type": "text/plain" };
  assert.equal((await offloadFetch(url, { method: "POST", body: "a", headers })).status, 200);
  assert.deepEqual(asked.slice(1).map(({ url }) => url), Array(4).fill(`${TASK}/result`));
  assert.ok(asked[2].at - asked[1].at >= 990);
  assert.ok(asked.slice(1).every(({ headers }) => headers.authorization === "Bearer ofl_x" && !headers["content-type"]));
  assert.equal(asked[1].headers.prefer, "wait=20");
});

test("a result may itself be an answer that says 202 or 503", async (t) => {
  for (const status of [202, 404, 503]) {
    const { url, asked } = await scripted(t, (request, response) => {
      if (request.method === "POST") accepted(response);
      else json(response, status, "its own", { "Offload-Task-Status": "DONE", "Retry-After": "1" });
    });
    const response = await offloadFetch(url, { method: "POST" });
    assert.deepEqual([response.status, await response.json(), asked.length], [status, "its own", 2]);
  }
});

test("what is no task comes through as it is", async (t) => {
  const elsewhere = await scripted(t, (request, response) => result(response, "another server's"));
  const answers = [
    [200, {}], [201, { Location: TASK }], [202, {}], [202, { Location: "/jobs/7" }], [404, {}], [500, { "Retry-After": "1" }],
    [202, { Location: elsewhere.url + TASK }], [409, { Location: TASK }], [503, { Location: TASK }],
  ];
  for (const [status, headers] of answers) {
    const { url, asked } = await scripted(t, (request, response) => json(response, status, "as it is", headers));
    const response = await offloadFetch(url, { method: "POST" });
    assert.deepEqual([response.status, await response.json(), asked.length], [status, "as it is", 1]);
  }
  assert.equal(elsewhere.asked.length, 0, "a key must not be sent to another server");
});

test("204 with a Location is a task too", async (t) => {
  const { url } = await scripted(t, (request, response) => {
    if (request.method === "POST") response.writeHead(204, { Location: TASK }).end();
    else result(response);
  });
  const tasks = [];
  const response = await offloadFetch(url, { method: "POST", headers: { Prefer: "return=minimal" }, onTask: (task) => tasks.push(task) });
  assert.deepEqual([response.status, tasks], [200, [{ id: ID, url: url + TASK }]]);
});

test("aborting before, while and after the task is accepted rejects at once and cancels what there is", async (t) => {
  let open = () => {};
  const { url, asked } = await scripted(t, async (request, response, asked) => {
    if (request.url.endsWith("/cancel")) json(response, 200, {});
    else if (request.method === "POST") {
      if (request.url === "/held") await new Promise((resolve) => (open = resolve));
      accepted(response);
    }
  });
  await assert.rejects(offloadFetch(url, { signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.equal(asked.length, 0);
  for (const path of ["/held", "/at-once"]) {
    const control = new AbortController();
    const headers = { Authorization: "Bearer ofl_x" };
    const answer = offloadFetch(url + path, { method: "POST", body: "a", headers, signal: control.signal });
    await until(() => asked.length > 0 && (path === "/held" || asked.at(-1).method === "GET"), "it was asked");
    control.abort(new Error("enough"));
    await assert.rejects(answer, { message: "enough" });
    open();
    await until(() => asked.at(-1).url === `${TASK}/cancel`, "the task is canceled");
    assert.deepEqual([asked.at(-1).method, asked.at(-1).headers.authorization], ["POST", "Bearer ofl_x"]);
    asked.length = 0;
  }
});

test("an upload that is aborted stops, and makes no task", async (t) => {
  const server = await scripted(t, (request, response) => json(response, 200, null));
  let over = false;
  const endless = new ReadableStream({
    async pull(pulled) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (over) pulled.close();
      else pulled.enqueue(new Uint8Array(1000));
    },
  });
  const control = new AbortController();
  const answer = offloadFetch(server.url, { method: "POST", body: endless, signal: control.signal });
  await until(() => server.begun === 1, "the upload has begun");
  control.abort();
  await assert.rejects(answer, { name: "AbortError" });
  await until(() => server.broken === 1, "the connection is closed");
  over = true; // Node goes on reading what it does not send any more
  assert.equal(server.asked.length, 0);
});

test("a signal that lives long collects no listeners", async (t) => {
  const { url } = await scripted(t, (request, response) => (request.method === "POST" ? accepted(response) : result(response)));
  const { signal } = new AbortController();
  for (let call = 0; call < 5; call++) {
    await (await offloadFetch(url, { method: "POST", body: "a", signal })).text();
    await assert.rejects(offloadFetch("not a url", { signal }), TypeError);
  }
  assert.equal(getEventListeners(signal, "abort").length, 0);
});
