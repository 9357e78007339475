/** Event streams: read however they are cut, resumed without gap or repeat, done without where there are none. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { offloadFetch } from "../client.js";
import { Offload, OffloadError } from "../client/offload.js";
import { ID, TASK, accepted, json, result, scripted, until } from "./scripted.mjs";

const STREAM = { "Content-Type": "text/event-stream; charset=utf-8" };
const EVENTS = [
  ["status", { status: "QUEUED" }],
  ["status", { status: "RUNNING" }],
  ["progress", { fraction: 0.5, message: "ζ half 🦆" }],
  ["log", "two\nlines\r\n"],
  ...Array.from({ length: 200 }, (_, number) => ["output", number]),
  ["status", { status: "DONE" }],
].map(([event, data], index) => ({ id: index + 1, event, data }));

const text = ({ id, event, data }, end = "\n") => `id: ${id}${end}event: ${event}${end}data: ${JSON.stringify(data)}${end}${end}`;

async function read(events) {
  const seen = [];
  for await (const event of events) seen.push(event);
  return seen;
}

for (const [name, end] of [["\\n", "\n"], ["\\r\\n", "\r\n"], ["\\r", "\r"]]) {
  test(`events with lines that end in ${name} are read wherever the stream is cut`, async (t) => {
    const bytes = Buffer.from(`retry: 10${end}${end}: still here${end}${end}` + EVENTS.map((event) => text(event, end)).join("") + "\n");
    const { url, asked } = await scripted(t, async (request, response) => {
      response.writeHead(200, STREAM);
      for (let at = 0; at < bytes.length; at += 7) {
        response.write(bytes.subarray(at, at + 7));
        if (at % 1400 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      response.end();
    });
    assert.deepEqual(await read(new Offload(url).events(ID)), EVENTS);
    assert.equal(asked.length, 1);
  });
}

test("a stream that breaks off anywhere is resumed without gap or repeat", { timeout: 60_000 }, async (t) => {
  let breaks = 0;
  const { url } = await scripted(t, (request, response) => {
    response.writeHead(200, STREAM);
    const after = Number(request.headers["last-event-id"] ?? 0);
    const bytes = Buffer.from("retry: 5\n\n" + EVENTS.slice(after).map((event) => text(event)).join(""));
    const cut = 40 + Math.floor(Math.random() * 700);
    if (cut >= bytes.length) return response.end(bytes);
    breaks++;
    // half of them end as when a server stops, half as when a line is cut
    if (breaks % 2) response.end(bytes.subarray(0, cut));
    else response.write(bytes.subarray(0, cut), () => setTimeout(() => response.destroy(), 5));
  });
  assert.deepEqual(await read(new Offload(url).events(ID, { after: 3 })), EVENTS.slice(3));
  assert.ok(breaks > 5, `${breaks} breaks`);
});

test("the end is not at the failure before a retry", async (t) => {
  const statuses = ["QUEUED", "RUNNING", "FAILED", "QUEUED", "RUNNING", "DONE"];
  const { url } = await scripted(t, (request, response) => {
    response.writeHead(200, STREAM);
    response.end(statuses.map((status, index) => text({ id: index + 1, event: "status", data: { status } })).join(""));
  });
  assert.deepEqual((await read(new Offload(url).events(ID))).map(({ data }) => data.status), statuses);
});

test("nothing after the last event is an end too", async (t) => {
  const { url } = await scripted(t, (request, response) => {
    if (request.url.endsWith("/status")) json(response, 200, { id: ID, status: "DONE" });
    else response.writeHead(200, STREAM).end("retry: 1\n\n");
  });
  assert.deepEqual(await read(new Offload(url).events(ID, { after: 9 })), []);
});

for (const status of [404, 405, 422, 501, 503]) {
  test(`a stream refused with ${status} is replaced by polling`, async (t) => {
    let polls = 0;
    const { url, asked } = await scripted(t, (request, response) => {
      if (request.method === "POST") accepted(response);
      else if (request.url.endsWith("/events")) json(response, status, { code: "No" });
      else if (++polls > 1) result(response);
      else json(response, 202, { id: ID, status: "RUNNING", progress: { fraction: 0.5, message: "half" } }, { "Retry-After": "1" });
    });
    const told = [];
    const response = await offloadFetch(url, { method: "POST", onProgress: (state) => told.push(state) });
    assert.equal(await response.json(), "the result");
    assert.equal(asked.filter((each) => each.url.endsWith("/events")).length, 1);
    assert.deepEqual(told.map((state) => [state.status, state.progress?.fraction]), [["QUEUED", undefined], ["RUNNING", 0.5]]);
  });
}

test("a page in place of a stream is no stream", async (t) => {
  const { url } = await scripted(t, (request, response) => {
    if (request.method === "POST") accepted(response);
    else if (request.url.endsWith("/events")) response.writeHead(200, { "Content-Type": "text/html" }).end("<p>log in");
    else result(response);
  });
  assert.equal((await offloadFetch(url, { method: "POST", stream: true })).status, 200);
});

test("a stream that has no room is asked again when events are all that is wanted; another refusal is thrown", async (t) => {
  let full = true;
  const { url } = await scripted(t, (request, response) => {
    if (!request.url.startsWith(TASK)) json(response, 404, { code: "TaskDoesNotExist", detail: "no such task" });
    else if (full) json(response, 503, { code: "TooManyStreams" }, { "Retry-After": "1" });
    else response.writeHead(200, STREAM).end(text({ id: 1, event: "status", data: { status: "DONE" } }));
    full = false;
  });
  const client = new Offload(url);
  assert.equal((await read(client.events(ID))).length, 1);
  await assert.rejects(read(client.events("00000000-0000-4000-8000-000000000000")), (error) => {
    assert.ok(error instanceof OffloadError);
    assert.deepEqual([error.status, error.code, error.message], [404, "TaskDoesNotExist", "no such task"]);
    return true;
  });
});

test("leaving the loop, or aborting, closes the stream", async (t) => {
  let open = 0;
  const { url } = await scripted(t, (request, response) => {
    open++;
    response.on("close", () => open--);
    response.writeHead(200, STREAM).write(text(EVENTS[0]) + text(EVENTS[1]));
  });
  for await (const event of new Offload(url).events(ID)) {
    assert.equal(event.id, 1);
    break;
  }
  await until(() => open === 0, "the stream is closed");
  const control = new AbortController();
  await assert.rejects(async () => {
    for await (const { id } of new Offload(url).events(ID, { signal: control.signal })) if (id === 2) control.abort();
  }, { name: "AbortError" });
  await until(() => open === 0, "the stream is closed");
});

test("what a listener throws is the caller's to hear", async (t) => {
  const { url } = await scripted(t, (request, response) => {
    if (request.method === "POST") accepted(response);
    else response.writeHead(200, STREAM).end(EVENTS.map((event) => text(event)).join(""));
  });
  const onEvent = ({ event }) => {
    if (event === "log") throw new RangeError("mine");
  };
  await assert.rejects(offloadFetch(url, { method: "POST", onEvent }), { name: "RangeError", message: "mine" });
});
