// @ts-self-types="./offload.d.ts"
/** A small client of one server: its jobs, tasks, events and files. */

import { OffloadError, Trip, follow, offloadFetch, persist, problemOf, submit } from "../client.js";
import { eventsOf } from "./events.js";

export { OffloadError, offloadFetch };

/** One server. What it refuses is thrown as OffloadError; every method takes `{signal}`. */
export class Offload {
  #base;
  #init;

  constructor(baseUrl = "/", { key, headers, ...init } = {}) {
    this.#base = new URL(baseUrl, globalThis.location?.href).href.replace(/\/+$/, "");
    this.#init = { ...init, headers: { ...headers, ...(key && { Authorization: `Bearer ${key}` }) } };
  }

  async submit(job, input, options) {
    const [url, init] = this.#submission(job, input, options);
    return (await good(submit(new Trip(init), url, init))).json();
  }

  async call(job, input, options) {
    return resultOf(await offloadFetch(...this.#submission(job, input, options)));
  }

  async get(id, options) {
    return (await this.#ask("GET", taskPath(id), options)).json();
  }

  async wait(id, options) {
    const found = await this.#follow(id, "", options);
    return found instanceof Response ? good(found) : found;
  }

  async result(id, options) {
    return resultOf(await this.#follow(id, "/result", options));
  }

  async cancel(id, options) {
    return (await this.#ask("POST", `${taskPath(id)}/cancel`, options)).json();
  }

  async retry(id, options) {
    return (await this.#ask("POST", `${taskPath(id)}/retry`, options)).json();
  }

  async delete(id, options) {
    await (await this.#ask("DELETE", taskPath(id), options)).text();
  }

  async logs(id, options) {
    return (await this.#ask("GET", `${taskPath(id)}/logs`, options)).text();
  }

  events(id, { after, ...options } = {}) {
    return eventsOf(new Trip({ ...this.#init, ...options }), this.#base + taskPath(id), { after, patient: true });
  }

  async *list({ signal, tags = {}, createdAfter, createdBefore, ...filter } = {}) {
    const query = new URLSearchParams(
      present({ ...filter, created_after: timeText(createdAfter), created_before: timeText(createdBefore) }),
    );
    for (const [name, value] of Object.entries(tags)) query.set(`tag.${name}`, value);
    for (let next = ""; next !== null; query.set("cursor", next)) {
      const page = await (await this.#ask("GET", `/v1/tasks?${query}`, { signal })).json();
      yield* page.tasks;
      next = page.next;
    }
  }

  async uploadFile(file, { name = file.name, ...options } = {}) {
    const path = name ? `/v1/files?name=${encodeURIComponent(name)}` : "/v1/files";
    return (await this.#ask("POST", path, { ...options, body: file })).json();
  }

  #ask(method, path, { body, signal, onUpload } = {}) {
    const trip = new Trip({ ...this.#init, signal });
    const once = body?.[Symbol.asyncIterator]; // a stream cannot be sent again
    const init = { ...trip.init, method, body, signal, ...(once && { duplex: "half" }) };
    return good(persist(trip, () => [this.#base + path, init], { retries: once ? 0 : trip.retries, onUpload }));
  }

  #follow(id, path, options) {
    return follow(new Trip({ ...this.#init, ...options }), this.#base + taskPath(id), path, { id });
  }

  #submission(job, input = {}, { priority, delay, runAt, deadline, tags, idempotencyKey, query, ...options } = {}) {
    const [type, body] = bodyOf(input);
    const named = input instanceof Blob && input.name;
    const headers = {
      ...this.#init.headers,
      ...present({
        "Content-Type": type,
        "Content-Disposition": named && `attachment; filename*=UTF-8''${encodeURIComponent(named)}`,
        "Idempotency-Key": idempotencyKey,
        "Offload-Priority": priority,
        "Offload-Delay": delay,
        "Offload-Run-At": timeText(runAt),
        "Offload-Deadline": deadline,
        "Offload-Tags": tags && Object.entries(tags).map(([name, value]) => `${name}=${value}`).join(", "),
      }),
    };
    const asked = query ? `?${new URLSearchParams(query)}` : "";
    const url = `${this.#base}/v1/jobs/${encodeURIComponent(job)}${asked}`;
    return [url, { ...this.#init, ...options, method: "POST", headers, body }];
  }
}

/** Return content type and body of an input: JSON, a form when there are files in it, or what it is already. */
function bodyOf(input) {
  const prototype = Object.getPrototypeOf(input);
  if (prototype !== Object.prototype && prototype !== null) return [undefined, input];
  const isFile = (value) => value instanceof Blob;
  const filed = ([, value]) => [value].flat().some(isFile);
  const entries = Object.entries(input).filter(([, value]) => value !== undefined);
  if (!entries.some(filed)) return ["application/json", JSON.stringify(input)];
  const form = new FormData();
  // texts first: what is wrong with them is told before the files are there
  for (const [name, value] of [...entries].sort((one, other) => filed(one) - filed(other))) {
    const whole = typeof value === "string" || isFile(value) ? [value] : filed([name, value]) ? value : [JSON.stringify(value)];
    for (const part of whole) form.append(name, part);
  }
  return [undefined, form];
}

async function good(promise) {
  const response = await promise;
  if (response.ok) return response;
  throw new OffloadError(response.status, await problemOf(response));
}

/** Return the result of a task that is DONE, whatever its status is: a wrapped application's own 404 is one. */
function resultOf(response) {
  return response.headers.get("Offload-Task-Status") === "DONE" ? response : good(response);
}

function present(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== false && value !== ""));
}

function taskPath(id) {
  return `/v1/tasks/${encodeURIComponent(id)}`;
}

function timeText(time) {
  return time instanceof Date ? time.toISOString() : time;
}
