/** A task's server-sent events (WHATWG HTML, 9.2) by fetch, which unlike EventSource can send a key. */

import { FINAL, OffloadError, QUIET_SECONDS, RETRIED, ask, jitter, pause, problemOf, retryAfter } from "../client.js";

/** Tell of a task's events until it has ended; false when they cannot be had, and it has to be asked. */
export async function listen(trip, url, tell) {
  const events = eventsOf(trip, url, { after: trip.after });
  try {
    for (;;) {
      const step = await events.next().catch(() => trip.signal?.throwIfAborted());
      if (!step || step.done) return !!step;
      const { id, event, data } = step.value;
      trip.after = id;
      trip.onEvent?.(step.value);
      if (event === "status") tell({ ...data, position: undefined, eta_seconds: undefined });
      if (event === "progress") tell({ progress: { fraction: data.fraction ?? null, message: data.message ?? "" } });
    }
  } finally {
    await events.return();
  }
}

/** Yield a task's events until it has ended, resumed without gap or repeat; `patient`: also when there is no room. */
export async function* eventsOf(trip, url, { after = 0, patient = false }) {
  for (let tries = 0, seconds = 1, status; ; ) {
    const limit = trip.limited(QUIET_SECONDS, { Accept: "text/event-stream", ...(after && { "Last-Event-ID": after }) });
    let failure, count = 0;
    try {
      const response = await trip.fetch(new Request(`${url}/events`, limit.init));
      if (response.status !== 200 || !/^text\/event-stream/.test(response.headers.get("Content-Type"))) {
        seconds = retryAfter(response) || seconds;
        throw new OffloadError(response.status, await problemOf(response));
      }
      for await (const { retry, ...event } of parsed(response.body, limit.alive)) {
        if (retry) seconds = retry / 1000;
        if (!("data" in event)) continue;
        tries = 0;
        count++;
        after = event.id;
        if (event.event === "status") status = event.data.status;
        yield event;
      }
    } catch (error) {
      failure = error;
      trip.signal?.throwIfAborted();
    } finally {
      limit.answered();
      limit.abort();
    }
    if (!failure && FINAL.has(status)) return; // not at the status itself: it may be of before a retry
    if (failure instanceof OffloadError && !(patient && RETRIED.has(failure.status))) throw failure;
    if (++tries > trip.retries) throw failure ?? new TypeError("the stream of events ends too early");
    if (!failure && !count) ({ status } = await problemOf(await ask(trip, `${url}/status`, 0)));
    await pause(seconds + (failure ? jitter(tries) : 0), trip.signal);
  }
}

/** Parse server-sent events as they come. */
async function* parsed(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", event = {};
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        const [, name, text = ""] = /^([^:]*)(?:: ?(.*))?$/.exec(line);
        if (name === "data") event.data = "data" in event ? `${event.data}\n${text}` : text;
        else if (name === "event") event.event = text;
        else if (name === "id" || name === "retry") event[name] = Number(text);
        if (line) continue;
        if ("data" in event) event.data = JSON.parse(event.data);
        yield event;
        event = { id: event.id };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
