// What was sent, or is to be sent, to whom: the log of callbacks, sending one again, trying a URL.
import { html, useEffect, useState } from "./preact.js";
import { get, post } from "./api.js";
import { clock, count, seconds, short } from "./format.js";
import { useCallbackTurn } from "./live.js";
import { Copy, Empty, Title, Trouble, useAction, useLoaded } from "./parts.js";

const LIST_CALM_MS = 1000; // a list of all is asked for no more often, however much is sent
const FAILING_CALM_MS = 3000;
const STATES = ["PENDING", "DELIVERED", "GIVEN_UP"];

export function Callbacks({ query, go, me }) {
  const state = query.get("state") || "";
  return html`<${Title}>Callbacks<//>
    <form class="find" onSubmit=${(event) => event.preventDefault()}>
      <label>State<select onChange=${(event) => go(event.target.value ? `#/callbacks?state=${event.target.value}` : "#/callbacks")}>
        <option value="">any</option>${STATES.map((each) => html`<option value=${each} selected=${each === state}>${each}</option>`)}</select></label>
    </form>
    <${Deliveries} state=${state} me=${me} shows="task" />
    ${me.may("submit") ? html`<${TryUrl} /><${Secret} />` : null}`;
}

export function Deliveries({ task, state, turn, me, shows }) {
  const moved = useCallbackTurn(task, task ? 0 : LIST_CALM_MS);
  const [cursors, setCursors] = useState([""]);
  const cursor = cursors[cursors.length - 1];
  const wanted = new URLSearchParams({ limit: "100" });
  if (task) wanted.set("task", task);
  if (state) wanted.set("state", state);
  if (cursor) wanted.set("cursor", cursor);
  useEffect(() => setCursors([""]), [task, state]);
  const [found, error, again] = useLoaded(() => get(`v1/callbacks?${wanted}`), [wanted.toString(), turn, moved]);
  const [run, busy, wrong] = useAction();
  if (!found) return html`<${Trouble} error=${error} />`;
  const replay = (id) => run(async () => {
    await post(`v1/callbacks/${id}/replay`);
    await again();
  });
  if (!found.callbacks.length) return html`<${Empty}>none yet<//>`;
  return html`<${Trouble} error=${wrong || error} />
    <div class="scroll"><table>
    <thead><tr>${shows ? html`<th scope="col">Task</th>` : null}<th scope="col">Event</th><th scope="col">State</th><th scope="col" class="number">Tries</th>
      <th scope="col">Last answer</th><th scope="col" class="number">Took</th><th scope="col">To</th><th scope="col">Next try</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead>
    <tbody>${found.callbacks.map((each) => html`<tr key=${each.id}>
      ${shows ? html`<th scope="row"><a class="id" href=${`#/tasks/${each.task}`}>${short(each.task)}</a></th>` : null}
      <td>${each.type}<small>${clock(each.created_at)}</small></td>
      <td><span class=${`badge ${each.state.toLowerCase()}`}>${each.state}</span></td>
      <td class="number">${count(each.tries)}</td>
      <td>${each.last ? html`${each.last.status_code || ""} ${each.last.error || ""}${each.last.answer ? html`<details><summary>answer</summary><pre tabindex="0">${each.last.answer}</pre></details>` : null}` : "–"}</td>
      <td class="number">${each.last ? seconds(each.last.latency_seconds) : "–"}</td>
      <td class="url">${each.url}</td>
      <td>${each.due_at ? clock(each.due_at) : "–"}</td>
      <td>${me.may("submit") ? html`<button type="button" disabled=${busy} onClick=${() => replay(each.id)} aria-label=${`Send ${each.type} again`}>Send again</button>` : null}</td>
    </tr>`)}</tbody></table></div>
    ${cursor || found.next ? html`<p class="buttons">
      <button type="button" disabled=${!cursor} onClick=${() => setCursors(cursors.slice(0, -1))}>Newer</button>
      <button type="button" disabled=${!found.next} onClick=${() => setCursors([...cursors, found.next])}>Older</button></p>` : null}`;
}

/** Those that fail, by the host that does not take them; only when there are any. */
export function Failing() {
  const moved = useCallbackTurn("", FAILING_CALM_MS);
  const [found] = useLoaded(() => get("v1/callbacks?state=PENDING&limit=200"), [moved]);
  const hosts = new Map();
  for (const each of found ? found.callbacks : []) {
    if (!each.last) continue;
    const host = new URL(each.url).host;
    const before = hosts.get(host) || { waiting: 0, newest: each, next: each.due_at };
    const newest = each.last.at > before.newest.last.at ? each : before.newest;
    hosts.set(host, { waiting: before.waiting + 1, newest, next: each.due_at < before.next ? each.due_at : before.next });
  }
  if (!hosts.size) return null;
  return html`<h2>Callbacks that fail</h2>
    <div class="scroll"><table>
      <thead><tr><th scope="col">Host</th><th scope="col" class="number">Waiting</th><th scope="col">Last answer</th><th scope="col">When</th><th scope="col">Next try</th></tr></thead>
      <tbody>${[...hosts].map(([host, { waiting, newest, next }]) => html`<tr key=${host}>
        <th scope="row" class="name"><a href="#/callbacks?state=PENDING">${host}</a></th>
        <td class="number">${count(waiting)}${found.next ? "+" : ""}</td>
        <td class="name">${newest.last.status_code || newest.last.error}</td>
        <td>${clock(newest.last.at)}</td><td>${clock(next)}</td>
      </tr>`)}</tbody></table></div>`;
}

function TryUrl() {
  const [address, setAddress] = useState("");
  const [said, setSaid] = useState(null);
  const [run, busy, error] = useAction();
  const send = (event) => {
    event.preventDefault();
    run(async () => setSaid(await post("v1/callbacks/test", { url: address })));
  };
  return html`<h2>Try a URL</h2>
    <form class="find" onSubmit=${send}>
      <label>URL<input type="url" required value=${address} placeholder="https://…" onInput=${(event) => setAddress(event.target.value)} /></label>
      <button type="submit" class="primary" disabled=${busy}>Send a signed test</button>
    </form>
    <${Trouble} error=${error} />
    <p role="status">${said ? `${said.status_code || said.error} in ${seconds(said.latency_seconds)}` : ""}</p>`;
}

function Secret() {
  const [secret, setSecret] = useState(null);
  const [run, busy, error] = useAction();
  return html`<h2>The secret that signs</h2>
    <p>Receivers check <code>webhook-signature</code> with it, as Standard Webhooks says. Keep it to yourself.</p>
    <${Trouble} error=${error} />
    ${secret ? html`<p><code class="value">${secret.secret}</code> <${Copy} text=${secret.secret} /></p>`
      : html`<p class="buttons"><button type="button" disabled=${busy} onClick=${() => run(async () => setSecret(await get("v1/callbacks/secret")))}>Show it</button></p>`}`;
}
