// One task: where it is in its life, what went in and came out, what it said, and what can be done with it.
import { html, useEffect, useRef, useState } from "./preact.js";
import { del, get, post, url } from "./api.js";
import { Deliveries } from "./callbacks.js";
import { between, clock, count, seconds, short } from "./format.js";
import { Badge, Confirm, Empty, Fact, Progress, Tags, Title, Trouble, useAction, useLoaded } from "./parts.js";
import { File, Value, isTable } from "./preview.js";
import { Snippets } from "./snippets.js";
import { Timeline } from "./timeline.js";

const FINAL = ["DONE", "FAILED", "CANCELED", "DELETED"];
const LOG_MOST = 400000;
const OUTPUTS_MOST = 100;

export function TaskPage({ id, go, me }) {
  const [events, setEvents] = useState([]);
  const moves = events.filter((event) => event.kind === "status").length;
  const [task, error, again] = useLoaded(() => get(`v1/tasks/${encodeURIComponent(id)}`), [id, moves]);
  const final = task && FINAL.includes(task.status);
  useEvents(id, setEvents, task ? (final ? "ended" : "live") : "unknown");
  if (error && !task) return html`<${Title}>Task<//><${Trouble} error=${error} /><p><a href="#/tasks">All tasks</a></p>`;
  if (!task) return html`<${Title}>Task ${short(id)}<//><${Empty}>Loading…<//>`;
  const progress = last(events, "progress");
  const outputs = task.status === "DONE" ? [] : outputsOfAttempt(events);
  return html`<${Title}>Task ${short(id)}<//>
    <p class="head"><${Badge} status=${task.status} reason=${task.reason} /> <strong>${task.job}</strong> <span class="dim id">${task.id}</span></p>
    <${Tags} tags=${task.tags} />
    <${Actions} task=${task} go=${go} me=${me} again=${again} />
    ${task.status === "RUNNING" ? html`<div role="status"><${Progress} value=${progress ? progress.data.fraction : null} /><p>${progress ? progress.data.message : "Running…"}</p></div>` : null}
    <${Facts} task=${task} />
    <${Timeline} task=${task} events=${events} />
    ${task.error ? html`<h2>Error</h2><div class="trouble"><strong>${task.error.type}</strong>: ${task.error.message}</div>
      ${task.error.traceback ? html`<details open><summary>Traceback</summary><pre tabindex="0">${task.error.traceback}</pre></details>` : null}` : null}
    <h2>Input</h2>
    <${Input} input=${task.input} />
    <${Outputs} outputs=${outputs} final=${final} />
    ${task.status === "DONE" ? html`<h2>Result</h2><${Result} task=${task} />` : null}
    <${Log} events=${events} running=${!final} />
    ${task.callback ? html`<h2>Callbacks</h2><${Deliveries} task=${task.id} turn=${moves} me=${me} />` : null}
    <${Snippets} task=${task} locked=${me.locked} />`;
}

function Facts({ task }) {
  return html`<dl class="facts">
    <${Fact} name="Queue">${task.queue}<//>
    <${Fact} name="Attempt">${task.attempt} of ${task.max_attempts}<//>
    <${Fact} name="Priority">${task.priority}<//>
    ${task.position !== undefined ? html`<${Fact} name="Tasks before it">${count(task.position)}<//>` : null}
    ${task.eta_seconds !== undefined ? html`<${Fact} name="Ends in about">${seconds(task.eta_seconds)}<//>` : null}
    <${Fact} name="Created">${clock(task.created_at)}<//>
    ${task.finished_at ? html`<${Fact} name="Finished">${clock(task.finished_at)}<//><${Fact} name="In all">${seconds(between(task.created_at, task.finished_at))}<//>` : null}
    ${task.deadline_at ? html`<${Fact} name="Must start by">${clock(task.deadline_at)}<//>` : null}
    ${task.expires_at ? html`<${Fact} name="Data kept until">${clock(task.expires_at)}<//>` : null}
  </dl>`;
}

function Actions({ task, go, me, again }) {
  const [run, busy, error] = useAction();
  const [asks, setAsks] = useState(false);
  if (!me.may("submit")) return null;
  const act = (verb) => run(async () => {
    await post(`v1/tasks/${task.id}/${verb}`);
    await again();
  });
  const drop = () => run(async () => {
    setAsks(false);
    await del(`v1/tasks/${task.id}`);
    await again();
  });
  return html`<p class="buttons">
      ${task.status === "CREATED" ? html`<button type="button" class="primary" disabled=${busy} onClick=${() => act("run")}>Run</button>` : null}
      ${["FAILED", "CANCELED"].includes(task.status) ? html`<button type="button" class="primary" disabled=${busy} onClick=${() => act("retry")}>Retry</button>` : null}
      ${FINAL.includes(task.status) ? null : html`<button type="button" disabled=${busy} onClick=${() => act("cancel")}>Cancel</button>`}
      ${task.status === "DELETED" ? null : html`<button type="button" disabled=${busy} onClick=${() => setAsks(true)}>Delete…</button>`}
      <button type="button" onClick=${() => go(`#/run/${task.job}?like=${task.id}`)}>Run again with other input</button>
    </p>
    <${Trouble} error=${error} />
    ${asks ? html`<${Confirm} title="Delete 1 task?" action="Delete it" onYes=${drop} onNo=${() => setAsks(false)}>
      <p>Its input, result, logs and files are dropped for good. That it was here stays on record.</p><//>` : null}`;
}

function Input({ input }) {
  if (!input || !Object.keys(input).length) return html`<${Empty}>none, or not kept any more<//>`;
  return html`<dl class="input">${Object.entries(input).map(([name, value]) => html`<div><dt>${name}</dt><dd><${Value} value=${value} /></dd></div>`)}</dl>`;
}

function Result({ task }) {
  if (task.result !== null) return html`<${Value} value=${task.result} />`;
  if (task.result_type === "application/json" && task.result_size <= 4) return html`<${Value} value=${null} />`; // it is the word null
  if (!task.result_type) return task.expires_at && new Date(task.expires_at) < new Date() ? html`<${Empty}>not kept any more<//>` : html`<${Value} value=${null} />`;
  const file = { name: `result of ${short(task.id)}`, type: task.result_type, size: task.result_size, url: url(task.links.result) };
  return html`<${File} file=${file} />`;
}

/** What a generator gave: like objects as one table, other things one by one; the newest when there are very many. */
function Outputs({ outputs, final }) {
  if (!outputs.length) return null;
  const before = Math.max(0, outputs.length - OUTPUTS_MOST);
  const shown = outputs.slice(before);
  const values = shown.map((event) => event.data);
  return html`<h2>${final ? "Outputs before it ended" : "Outputs so far"}</h2>
    ${before ? html`<p class="dim">the newest ${OUTPUTS_MOST} of ${count(outputs.length)}</p>` : null}
    ${isTable(values) ? html`<${Value} value=${values} />`
      : html`<ol class="outputs" start=${before + 1}>${shown.map((event) => html`<li key=${event.n}><${Value} value=${event.data} /></li>`)}</ol>`}`;
}

function Log({ events, running }) {
  const box = useRef(null);
  const [follows, setFollows] = useState(true);
  const said = events.filter((event) => event.kind === "log");
  const text = said.map((event) => event.data).join("").slice(-LOG_MOST);
  useEffect(() => {
    if (follows && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text, follows]);
  if (!said.length) return null;
  return html`<h2>Log</h2>
    ${running ? html`<label class="check"><input type="checkbox" checked=${follows} onChange=${(event) => setFollows(event.target.checked)} /> Follow</label>` : null}
    <pre class="log" ref=${box} tabindex="0" aria-label="log">${text}</pre>`;
}

/** Listens to the task while it lives; of one that has ended everything is read once. */
function useEvents(id, setEvents, mode) {
  const next = useRef(0);
  useEffect(() => {
    next.current = 0;
    setEvents([]);
  }, [id]);
  useEffect(() => {
    if (mode === "unknown") return undefined;
    const source = new EventSource(url(`v1/tasks/${id}/events`));
    let waiting = [];
    let timer = null;
    const flush = () => {
      timer = null;
      const some = waiting;
      waiting = [];
      setEvents((before) => [...before, ...some]);
    };
    const take = (kind) => (event) => {
      const n = Number(event.lastEventId);
      if (n <= next.current) return; // a new stream begins at the beginning
      next.current = n;
      waiting.push({ n, kind, data: JSON.parse(event.data) });
      timer = timer || setTimeout(flush, 50);
    };
    for (const kind of ["status", "progress", "log", "output"]) source.addEventListener(kind, take(kind));
    source.onerror = () => mode === "ended" && source.close();
    return () => {
      if (timer) {
        clearTimeout(timer);
        flush();
      }
      source.close();
    };
  }, [id, mode]);
}

/** Returns what the newest attempt gave; a result says it all once more, so with one there is none of it. */
function outputsOfAttempt(events) {
  const begun = events.findLastIndex((event) => event.kind === "status" && event.data.status === "RUNNING");
  return events.slice(Math.max(0, begun)).filter((event) => event.kind === "output");
}

function last(events, kind) {
  for (let i = events.length - 1; i >= 0; i -= 1) if (events[i].kind === kind) return events[i];
  return null;
}
