// @ts-self-types="./client.d.ts"
/** fetch for slow services: hands a request in, waits for its task, resolves to the result. */

export const RETRIED = new Set([429, 502, 503, 504, 507]); // could not be taken just then
export const FINAL = new Set(["DONE", "FAILED", "CANCELED", "DELETED"]);
const TASK_URL = /\/v1\/tasks\/[0-9a-f-]{36}$/;
const OF_THE_BODY = /^(content-|offload-|idempotency-key$|prefer$|if-|range$)/;
const FIRST_SECONDS = 0.2, MOST_SECONDS = 10, TIMER_MS_MAX = 2 ** 31 - 1; // beyond it a timer fires at once
export const QUIET_SECONDS = 45;
const HOLD_SECONDS = 20, LISTEN_SECONDS = 2;
// a browser opens six connections to a server: held answers must leave some for everything else
const HOLDS_MAX = globalThis.document || globalThis.importScripts ? 4 : 100;
let holds = 0;

/** A drop-in for fetch; resolves to the exact result of the task that the server made of the request. */
export async function offloadFetch(input, init = {}) {
  const trip = new Trip(init, input);
  const { signal } = trip;
  signal?.throwIfAborted();
  const answer = submit(trip, input, init);
  const response = await (isSmall(input, init.body) ? orAborted(answer, signal) : answer).catch((error) => {
    // the answer names the task to cancel: it is still waited for
    if (signal?.aborted) answer.then((late) => cancel(trip, taskUrl(trip, late)), () => {});
    throw error;
  });
  const url = taskUrl(trip, response);
  if (!url || ![202, 204].includes(response.status) || isFinal(response)) return response;
  const stop = () => cancel(trip, url);
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const task = { ...(await problemOf(response)), id: url.slice(-36), url };
    init.onTask?.(task);
    return await follow(trip, url, "/result", task);
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/** What all requests of one call have in common. */
export class Trip {
  constructor(init, input) {
    const first = input instanceof Request ? input : {};
    const { retries = 8, onProgress, onEvent, stream = !!(onProgress || onEvent), fetch = globalThis.fetch } = init;
    Object.assign(this, { retries, onProgress, onEvent, stream, fetch: (...given) => fetch(...given) });
    this.signal = init.signal === undefined ? first.signal : init.signal;
    const kept = [...new Headers(init.headers ?? first.headers)].filter(([name]) => !OF_THE_BODY.test(name));
    this.init = { cache: "no-store", headers: Object.fromEntries(kept) };
    for (const name of ["credentials", "mode", "referrerPolicy", "dispatcher"]) {
      const value = init[name] ?? first[name];
      if (value) this.init[name] = value;
    }
  }

  /** Return an init for fetch, aborted after so many seconds without a sign of life. */
  limited(seconds, headers) {
    const control = new AbortController();
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => control.abort(new DOMException("no sign of life", "TimeoutError")), seconds * 1000);
    };
    alive();
    const signal = this.signal ? AbortSignal.any([this.signal, control.signal]) : control.signal;
    const init = { ...this.init, headers: { ...this.init.headers, ...headers }, signal };
    return { init, alive, answered: () => clearTimeout(timer), abort: () => control.abort() };
  }
}

/** Hand a request in, under one Idempotency-Key however often it takes. */
export function submit(trip, input, init) {
  const { body, fetch, ...rest } = init;
  const first = input instanceof Request;
  const headers = new Headers(init.headers ?? (first ? input.headers : undefined));
  const prefer = headers.get("Prefer");
  headers.set("Prefer", prefer ? `respond-async, ${prefer}` : "respond-async");
  if (!headers.has("Idempotency-Key")) headers.set("Idempotency-Key", newKey());
  Object.assign(rest, { headers, signal: isSmall(input, body) ? null : trip.signal });
  const once = typeof body !== "function" && body?.[Symbol.asyncIterator]; // a stream cannot be sent again
  if (once || typeof body === "function") rest.duplex = "half";
  const make = () => {
    if (body !== undefined) rest.body = typeof body === "function" ? body() : body;
    return [first ? input.clone() : input, rest];
  };
  return persist(trip, make, { retries: once ? 0 : trip.retries, onUpload: init.onUpload });
}

/** Send until there is an answer to keep: full jitter, never sooner than the server said. */
export async function persist(trip, make, { retries = trip.retries, signal = trip.signal, onUpload } = {}) {
  for (let tries = 1; ; tries++) {
    const parts = make();
    const request = new Request(...parts); // throws what no second try would help
    trip.url ??= request.url;
    let response, failure;
    try {
      if (onUpload && parts[1].body && globalThis.XMLHttpRequest) {
        response = await (await import("./client/upload.js")).upload(request, parts[1].body, onUpload);
      } else response = await trip.fetch(request);
    } catch (error) {
      failure = error;
      signal?.throwIfAborted();
    }
    if (response && (!RETRIED.has(response.status) || isFinal(response) || taskUrl(trip, response))) return response;
    if (tries > retries) {
      if (failure) throw failure;
      return response;
    }
    response?.body?.cancel().catch(() => {});
    await pause(retryAfter(response) + jitter(tries), signal);
  }
}

/** Wait until a task has ended: by its events when somebody listens, else by answers that the server holds. */
export async function follow(trip, url, path, task) {
  const tell = teller(trip, task);
  let { stream } = trip;
  for (;;) {
    trip.signal?.throwIfAborted();
    const held = holds < HOLDS_MAX;
    const waitSeconds = !held ? 0 : trip.onProgress ? LISTEN_SECONDS : HOLD_SECONDS;
    let response, began;
    holds += held;
    try {
      if (stream && held) {
        const events = await import("./client/events.js").catch(() => {}); // without it, poll
        stream = !!events && (await events.listen(trip, url, tell));
      }
      began = performance.now();
      response = await ask(trip, url + path, waitSeconds);
    } finally {
      holds -= held;
    }
    if (path ? isFinal(response) ?? response.status !== 202 : !response.ok) return response;
    const seen = await response.json();
    tell(seen);
    if (!path && FINAL.has(seen.status)) return seen;
    // one that was held as long as asked has waited already
    const waited = held && performance.now() - began > waitSeconds * 800;
    if (!waited) await pause(retryAfter(response) || 1, trip.signal);
  }
}

/** Ask about a task; the server may hold its answer so many seconds. */
export async function ask(trip, url, waitSeconds) {
  let limit;
  const make = () => {
    limit?.answered();
    limit = trip.limited(waitSeconds + QUIET_SECONDS, waitSeconds ? { Prefer: `wait=${waitSeconds}` } : {});
    return [url, limit.init];
  };
  return persist(trip, make).finally(() => limit?.answered());
}

/** Cancel a task, whatever becomes of the page. */
function cancel(trip, url) {
  const make = () => [`${url}/cancel`, { ...trip.init, method: "POST", keepalive: true }];
  if (url) persist(trip, make, { signal: null }).then((response) => response.body?.cancel()).catch(() => {});
}

/** What a server refused, or how a task ended that has no result. */
export class OffloadError extends Error {
  name = "OffloadError";

  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `the server answered ${status}`);
    Object.assign(this, { status, code: problem.code, problem });
  }
}

export async function problemOf(response) {
  return Object(await response.json().catch(() => ({})));
}

/** Return the URL of the task that an answer tells of, when it is on the server that was asked. */
function taskUrl({ url }, response) {
  const found = new URL(response.headers.get("Location") ?? "", response.url || url);
  return found.origin === new URL(url).origin && TASK_URL.test(found.pathname) ? found.href : undefined;
}

/** Tell whether a task's result is what it will be; undefined when the answer is not of such a task. */
function isFinal(response) {
  const status = response.headers.get("Offload-Task-Status");
  return status ? FINAL.has(status) : undefined;
}

function isSmall(input, body) {
  return !(input instanceof Request) && (body == null || typeof body === "string" || body instanceof URLSearchParams);
}

function teller({ onProgress }, task) {
  const state = { progress: null };
  let told;
  const tell = (news) => {
    for (const name of ["id", "status", "reason", "progress", "position", "eta_seconds"]) if (name in news) state[name] = news[name];
    const now = JSON.stringify(state);
    if (now !== told) onProgress?.({ ...state });
    told = now;
  };
  tell(task);
  return tell;
}

export function retryAfter(response) {
  const text = response?.headers.get("Retry-After") ?? "";
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return seconds > 0 ? seconds : 0;
}

export function jitter(tries) {
  return Math.random() * Math.min(MOST_SECONDS, FIRST_SECONDS * 2 ** (tries - 1));
}

export function pause(seconds, signal) {
  let timer;
  const over = new Promise((resolve) => (timer = setTimeout(resolve, Math.min(seconds * 1000, TIMER_MS_MAX))));
  return orAborted(over, signal).finally(() => clearTimeout(timer));
}

function orAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

function newKey() {
  // randomUUID exists in secure contexts only
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
