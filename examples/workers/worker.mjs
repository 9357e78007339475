// A worker for offload in plain Node 20+: leases tasks, keeps them by heartbeats, and gives results back.
// OFFLOAD_URL says where the server is, OFFLOAD_API_KEY who asks, if it has keys. SIGTERM: finish what runs, take no more.

const base = process.env.OFFLOAD_URL ?? "http://127.0.0.1:8000";
const key = process.env.OFFLOAD_API_KEY;
const TRIES = 8;
const BUSY = new Set([429, 500, 502, 503, 504, 507]);

/** The input cannot be worked on, however often it is tried. */
class Bad extends Error {}
/** The task was canceled, or the lease was lost. */
class Stopped extends Error {}

const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const say = (what, lent) => console.log(what, lent.task, lent.attempt);

/** Wait at random, and longer each time, so that many workers do not come back at once. */
const pause = (tries) => sleep(0.05 + Math.random() * Math.min(10, 0.2 * 2 ** tries));

async function ask(method, path, { json, body, headers = {}, signal } = {}) {
  if (json !== undefined) [body, headers] = [JSON.stringify(json), { "content-type": "application/json" }];
  if (key) headers = { ...headers, authorization: `Bearer ${key}` };
  const answer = await fetch(new URL(path, base), { method, body, headers, signal });
  return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
}

/** Ask again while the server cannot be reached or is too busy; all that is said here may be repeated. */
async function patiently(method, path, options = {}, keeper = undefined) {
  for (let tries = 0; ; tries++) {
    if (keeper?.signal.aborted) throw new Stopped();
    const signal = AbortSignal.timeout(120_000);
    const answer = await ask(method, path, { ...options, signal }).catch((error) => ({ status: 503, body: error }));
    if (!BUSY.has(answer.status) || tries === TRIES - 1) return answer;
    await pause(tries);
  }
}

/** Keep a lease until `end`; `signal` is aborted when the task was canceled or the lease is lost. */
function keep(lent) {
  const stop = new AbortController();
  const keeper = { signal: stop.signal, canceled: false, progress: null };
  const timer = setInterval(async () => {
    try {
      const path = `/v1/leases/${lent.lease}/heartbeat`;
      const options = { json: { progress: keeper.progress }, signal: AbortSignal.timeout(30_000) };
      const { status, body } = await ask("POST", path, options);
      keeper.canceled = status === 200 && JSON.parse(body).canceled;
      if (keeper.canceled || status === 404 || status === 409) stop.abort();
    } catch {
      // the server may be back before the lease ends
    }
  }, lent.heartbeat_seconds * 1000);
  keeper.end = () => clearInterval(timer);
  /** Add a line to the task's log; the work goes on if that fails. */
  keeper.log = async (line) => {
    const options = { body: `${line}\n`, headers: { "content-type": "text/plain" }, signal: AbortSignal.timeout(30_000) };
    await ask("POST", `/v1/leases/${lent.lease}/log`, options).catch(() => {});
  };
  return keeper;
}

/** Do the work; look now and then whether it is still wanted, and say how far it is. */
async function count(data, seconds, keeper) {
  const text = decoded(data);
  await keeper.log(`counting ${data.length} bytes`);
  const begun = Date.now();
  for (let spent = 0; spent < seconds; spent = (Date.now() - begun) / 1000) {
    keeper.progress = { fraction: spent / seconds };
    await sleep(Math.min(0.05, seconds - spent));
    if (keeper.signal.aborted) throw new Stopped();
  }
  return { bytes: data.length, lines: text.split("\n").length - 1, words: text.split(/\s+/).filter(Boolean).length };
}

function decoded(data) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(data);
  } catch (error) {
    throw new Bad(`not a text: ${error.message}`);
  }
}

/** Run one task, and tell how it ended. */
async function work(lent) {
  const lease = `/v1/leases/${lent.lease}`;
  const keeper = keep(lent);
  try {
    const { status, body: data } = await patiently("GET", lent.download_from.text, {}, keeper);
    if (status === 409) throw new Stopped();
    if (status !== 200) throw new Error(`the input cannot be read: ${status} ${data}`);
    let answer;
    if (lent.job === "shout") {
      const headers = { "content-type": "text/plain", "content-disposition": 'attachment; filename="shouted.txt"' };
      const body = Buffer.from(decoded(data).toUpperCase());
      answer = await patiently("PUT", lent.upload_to, { body, headers }, keeper);
      // only what was taken may be said to be done
      if (answer.status === 200) answer = await patiently("POST", `${lease}/done`, {}, keeper);
    } else {
      const json = await count(data, lent.input.seconds ?? 0, keeper);
      answer = await patiently("POST", `${lease}/done`, { json }, keeper);
    }
    if (answer.status === 409) throw new Stopped();
    if (answer.status > 202) throw new Bad(`the result was not taken: ${answer.status} ${answer.body}`);
    say("done", lent);
  } catch (error) {
    if (error instanceof Stopped) {
      if (keeper.canceled) await patiently("POST", `${lease}/failed`, { json: { error: "canceled" } });
      say(keeper.canceled ? "canceled" : "lost", lent);
    } else {
      const told = { type: error.constructor.name, message: error.message.slice(0, 10_000) };
      await patiently("POST", `${lease}/failed`, { json: { error: told, retry: !(error instanceof Bad) } });
      say("failed", lent);
    }
  } finally {
    keeper.end();
  }
}

let draining = false;
let waiting = null;
process.on("SIGTERM", () => {
  draining = true;
  waiting?.abort(); // hanging up tells the server: what it was about to lend goes back
});

console.log("ready");
for (let tries = 0; !draining; ) {
  waiting = new AbortController();
  const wish = { json: { queues: ["text"], max: 1, wait: 20 }, signal: waiting.signal };
  const { status, body } = await ask("POST", "/v1/leases", wish).catch((error) => ({ status: 503, body: error }));
  waiting = null;
  if (status === 200) {
    for (const lent of JSON.parse(body)) {
      say("took", lent);
      await work(lent);
    }
  }
  if (status === 200 || status === 204) {
    tries = 0;
  } else if (!draining) {
    console.error(`no lease: ${status} ${String(body).slice(0, 500)}`);
    if ([400, 401, 403, 404].includes(status)) process.exit(1); // asking again will not help
    await pause(Math.min(tries++, 10));
  }
}
console.log("drained");
process.exit(0);
