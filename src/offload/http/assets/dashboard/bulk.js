// The same thing done with many tasks: counted first, asked, then done a few at a time with a word on each that would not.
import { html, useState } from "./preact.js";
import { del, get, post } from "./api.js";
import { count } from "./format.js";
import { Confirm, Trouble } from "./parts.js";

const ACTIONS = {
  retry: { name: "Retry", takes: ["FAILED", "CANCELED"], act: (id) => post(`v1/tasks/${id}/retry`) },
  cancel: { name: "Cancel", takes: ["CREATED", "QUEUED", "RUNNING"], act: (id) => post(`v1/tasks/${id}/cancel`) },
  delete: { name: "Delete", takes: ["CREATED", "QUEUED", "RUNNING", "DONE", "FAILED", "CANCELED"], act: (id) => del(`v1/tasks/${id}`) },
};
const MOST = 10000;
const AT_ONCE = 6;

export function Bulk({ marked, wanted, onDone }) {
  const [asked, setAsked] = useState(null);
  const [state, setState] = useState(null);
  const [error, setError] = useState(null);
  const prepare = async (action) => {
    setError(null);
    setState({ said: "Counting…" });
    try {
      const ids = await fitting(action, marked, wanted);
      setState(null);
      setAsked({ action, ids });
    } catch (problem) {
      setState(null);
      setError(problem);
    }
  };
  const doIt = async () => {
    const { action, ids } = asked;
    setAsked(null);
    const refused = await each(ids, ACTIONS[action].act, (done) => setState({ said: `${ACTIONS[action].name}: ${count(done)} of ${count(ids.length)}` }));
    setState({ said: `${ACTIONS[action].name}: ${count(ids.length - refused.length)} done${refused.length ? `, ${count(refused.length)} not: ${refused[0].message}` : ""}` });
    onDone();
  };
  return html`<div class="bulk">
    <span>${marked.size ? `With the ${marked.size} marked:` : "With all that are found:"}</span>
    ${Object.keys(ACTIONS).map((action) => html`<button type="button" disabled=${asked !== null} onClick=${() => prepare(action)}>${ACTIONS[action].name}…</button>`)}
    <span role="status">${state ? state.said : ""}</span>
    <${Trouble} error=${error} />
    ${asked ? html`<${Confirm} title=${`${ACTIONS[asked.action].name} ${count(asked.ids.length)} ${asked.ids.length === 1 ? "task" : "tasks"}?`}
      action=${`${ACTIONS[asked.action].name} ${count(asked.ids.length)}`} danger=${asked.action !== "retry"}
      onYes=${doIt} onNo=${() => setAsked(null)}>
      <p>${words(asked)}</p>
    <//>` : null}
  </div>`;
}

function words({ action, ids }) {
  if (!ids.length) return `None of them can be changed so: only ${ACTIONS[action].takes.join(", ")} can.`;
  const more = ids.length >= MOST ? ` At most ${count(MOST)} are taken at a time; do it again for the rest.` : "";
  if (action === "retry") return `Each gets one more attempt.${more}`;
  if (action === "cancel") return `Those that run are stopped; the others never start.${more}`;
  return `Their inputs, results, logs and files are dropped for good.${more}`;
}

async function fitting(action, marked, wanted) {
  const { takes } = ACTIONS[action];
  if (marked.size) {
    const tasks = await Promise.all([...marked].map((id) => get(`v1/tasks/${id}`)));
    return tasks.filter((task) => takes.includes(task.status)).map((task) => task.id);
  }
  const statuses = wanted.get("status") ? takes.filter((status) => status === wanted.get("status")) : takes;
  const ids = [];
  const page = new URLSearchParams(wanted);
  page.set("status", statuses.join(","));
  page.set("limit", "1000");
  while (statuses.length && ids.length < MOST) {
    const found = await get(`v1/tasks?${page}`);
    ids.push(...found.tasks.map((task) => task.id));
    if (!found.next) break;
    page.set("cursor", found.next);
  }
  return ids.slice(0, MOST);
}

async function each(ids, act, onProgress) {
  const refused = [];
  let next = 0;
  let done = 0;
  const one = async () => {
    while (next < ids.length) {
      const id = ids[next++];
      await act(id).catch((problem) => refused.push(problem));
      onProgress(++done);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return refused;
}
