// The list of tasks: found by what they are, newest first, live; and what can be done with many at once.
import { html, useEffect, useRef, useState } from "./preact.js";
import { get } from "./api.js";
import { Bulk } from "./bulk.js";
import { between, clock, seconds, short } from "./format.js";
import { useLive } from "./live.js";
import { Badge, Empty, Progress, Tags, Title, Trouble, useLoaded } from "./parts.js";

const STATUSES = ["CREATED", "QUEUED", "RUNNING", "DONE", "FAILED", "CANCELED", "DELETED"];
const PAGE = 50;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;

export function Tasks({ query, go, me }) {
  const { overview } = useLive();
  const [cursors, setCursors] = useState([""]);
  const cursor = cursors[cursors.length - 1];
  const wanted = filter(query);
  const key = wanted.toString();
  const changes = useCalm(overview ? `${overview.changes} ${overview.queues.map((queue) => `${queue.queued}/${queue.running}`)}` : "");
  const [page, error, again] = useLoaded(() => get(`v1/tasks?${pageOf(wanted, cursor)}`), [key, cursor, changes]);
  const [marked, setMarked] = useState(new Set());
  useEffect(() => {
    setCursors([""]);
    setMarked(new Set());
  }, [key]);
  const tasks = page ? page.tasks : [];
  const mark = (id, on) => setMarked((before) => {
    const after = new Set(before);
    if (on) after.add(id);
    else after.delete(id);
    return after;
  });
  return html`<${Title}>Tasks<//>
    <${Find} query=${query} go=${go} jobs=${overview ? overview.jobs : []} queues=${overview ? overview.queues : []} />
    <${Trouble} error=${error} />
    ${me.may("submit") ? html`<${Bulk} marked=${marked} wanted=${wanted} onDone=${() => { setMarked(new Set()); again(); }} />` : null}
    ${page && !tasks.length ? html`<${Empty}>No task fits. ${key ? html`<a href="#/tasks">Show all</a>` : html`<a href="#/run">Run a job</a>`}<//>` : null}
    ${tasks.length ? html`<div class="scroll"><table>
      <thead><tr>
        <th scope="col"><input type="checkbox" aria-label="Mark all on this page" checked=${tasks.every((task) => marked.has(task.id))}
          onChange=${(event) => setMarked(event.target.checked ? new Set(tasks.map((task) => task.id)) : new Set())} /></th>
        <th scope="col">Task</th><th scope="col">Job</th><th scope="col">Status</th><th scope="col">Created</th>
        <th scope="col" class="number">Waited</th><th scope="col" class="number">Ran</th><th scope="col" class="number">Attempt</th><th scope="col">Tags</th>
      </tr></thead>
      <tbody>${tasks.map((task) => html`<${Row} key=${task.id} task=${task} marked=${marked.has(task.id)} onMark=${mark} />`)}</tbody>
    </table></div>` : null}
    <p class="buttons">
      <button type="button" disabled=${cursors.length < 2} onClick=${() => setCursors(cursors.slice(0, -1))}>Newer</button>
      <button type="button" disabled=${!page || !page.next} onClick=${() => setCursors([...cursors, page.next])}>Older</button>
    </p>`;
}

function Row({ task, marked, onMark }) {
  return html`<tr>
    <td><input type="checkbox" aria-label=${`Mark task ${short(task.id)}`} checked=${marked} onChange=${(event) => onMark(task.id, event.target.checked)} /></td>
    <th scope="row"><a class="id" href=${`#/tasks/${task.id}`}>${short(task.id)}</a></th>
    <td class="name">${task.job}<small>${task.queue}</small></td>
    <td><${Badge} status=${task.status} reason=${task.reason} />
      ${task.status === "RUNNING" && task.progress ? html`<${Progress} value=${task.progress.fraction} label=${`progress of task ${short(task.id)}`} />` : null}</td>
    <td>${clock(task.created_at)}</td>
    <td class="number">${seconds(between(task.queued_at, task.started_at))}</td>
    <td class="number">${seconds(between(task.started_at, task.finished_at))}</td>
    <td class="number">${task.attempt} / ${task.max_attempts}</td>
    <td class="tags"><${Tags} tags=${task.tags} /></td>
  </tr>`;
}

function Find({ query, go, jobs, queues }) {
  const form = useRef(null);
  // set when the query changes, and not at each of the many renders: they must not take away what somebody is typing
  useEffect(() => {
    for (const name of ["tag", "after", "before"]) form.current.elements[name].value = query.get(name) || "";
  }, [query.toString()]);
  const find = (event) => {
    event.preventDefault();
    const given = new FormData(form.current);
    const id = String(given.get("id")).trim();
    if (UUID.test(id)) return go(`#/tasks/${id.toLowerCase()}`);
    const wanted = new URLSearchParams();
    for (const [name, value] of given) if (value && name !== "id") wanted.append(name, value);
    go(`#/tasks?${wanted}`);
  };
  const select = (name, label, values) => html`<label>${label}<select name=${name} onChange=${find} value=${query.get(name) || ""}>
    <option value="">any</option>${values.map((value) => html`<option value=${value} selected=${query.get(name) === value}>${value}</option>`)}</select></label>`;
  return html`<form class="find" ref=${form} onSubmit=${find} role="search">
    ${select("job", "Job", jobs.map((job) => job.name))}
    ${select("queue", "Queue", queues.map((queue) => queue.name))}
    ${select("status", "Status", STATUSES)}
    <label>Tag<input name="tag" placeholder="customer=42" /></label>
    <label>Created after<input name="after" type="datetime-local" /></label>
    <label>Created before<input name="before" type="datetime-local" /></label>
    <label>Id<input name="id" placeholder="8c0f4c7e-…" pattern=${"[0-9a-fA-F\\-]{36}"} title="the whole id of a task" /></label>
    <button type="submit" class="primary">Find</button>
  </form>`;
}

/** Turns the page's own query into the one that the server knows. */
function filter(query) {
  const wanted = new URLSearchParams();
  for (const name of ["job", "queue", "status"]) if (query.get(name)) wanted.set(name, query.get(name));
  const [tag, ...value] = (query.get("tag") || "").split("=");
  if (tag) wanted.set(`tag.${tag}`, value.join("="));
  for (const name of ["after", "before"]) {
    const at = new Date(query.get(name) || "");
    if (!Number.isNaN(at.getTime())) wanted.set(`created_${name}`, at.toISOString());
  }
  return wanted;
}

function pageOf(wanted, cursor) {
  const page = new URLSearchParams(wanted);
  page.set("limit", PAGE);
  if (cursor) page.set("cursor", cursor);
  return page;
}

/** Follows a value, but not more often than once a second: a busy server need not be asked for each change. */
function useCalm(value) {
  const [calm, setCalm] = useState(value);
  const newest = useRef(value);
  newest.current = value;
  useEffect(() => {
    const timer = setInterval(() => setCalm(newest.current), 1000);
    return () => clearInterval(timer);
  }, []);
  return calm;
}
