// Keys, for admins: who may ask, what for, and how much.
import { html, useState } from "./preact.js";
import { del, get, post } from "./api.js";
import { bytes, clock, count } from "./format.js";
import { Confirm, Copy, Empty, Title, Trouble, useAction, useLoaded } from "./parts.js";

const SCOPES = { submit: "hand in, cancel and delete tasks", read: "read tasks and queues", work: "lease tasks for workers elsewhere", admin: "everything, of every owner" };

export function Keys() {
  const [found, error, again] = useLoaded(() => get("v1/keys"), []);
  const [ending, setEnding] = useState(null);
  const [run, busy, wrong] = useAction();
  const revoke = () => run(async () => {
    const { id } = ending;
    setEnding(null);
    await del(`v1/keys/${id}`);
    await again();
  });
  const keys = found ? found.keys : [];
  return html`<${Title}>Keys<//>
    <${Trouble} error=${error || wrong} />
    ${found && !keys.length ? html`<${Empty}>There are no keys: everybody on this machine may do everything, and nobody elsewhere anything. From the first key on, nobody may do anything without one.<//>` : null}
    ${keys.length ? html`<div class="scroll"><table>
      <thead><tr><th scope="col">Key</th><th scope="col">Owner</th><th scope="col">Scopes</th><th scope="col">State</th><th scope="col">Last used</th><th scope="col">Rate</th>
        <th scope="col" class="number">Tasks</th><th scope="col" class="number">Bytes</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead>
      <tbody>${keys.map((key) => html`<tr key=${key.id}>
        <th scope="row"><code>${key.id}</code><small>${clock(key.created_at)}</small></th>
        <td>${key.owner || html`<span class="dim">nobody</span>`}</td><td>${key.scopes.join(", ")}</td>
        <td>${state(key)}</td><td>${clock(key.last_used_at)}</td><td>${key.rate || "–"}</td>
        <td class="number">${count(key.tasks_max)}</td><td class="number">${bytes(key.bytes_max)}</td>
        <td>${key.revoked_at ? null : html`<button type="button" disabled=${busy} onClick=${() => setEnding(key)} aria-label=${`Revoke key ${key.id}`}>Revoke…</button>`}</td>
      </tr>`)}</tbody></table></div>` : null}
    <${NewKey} first=${found && !keys.length} onMade=${again} />
    ${ending ? html`<${Confirm} title=${`Revoke the key of ${ending.owner || "nobody"}?`} action="Revoke it" onYes=${revoke} onNo=${() => setEnding(null)}>
      <p>Whoever uses it is refused from the next request on, for good.</p><//>` : null}`;
}

function state(key) {
  if (key.revoked_at) return html`<span class="badge canceled">revoked</span>`;
  if (key.expires_at && new Date(key.expires_at) < new Date()) return html`<span class="badge canceled">expired</span>`;
  return html`<span class="badge done">valid</span>${key.expires_at ? html`<small>until ${clock(key.expires_at)}</small>` : null}`;
}

function NewKey({ first, onMade }) {
  const [made, setMade] = useState(null);
  const [run, busy, error] = useAction();
  const create = (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    const body = { owner: given.get("owner"), scopes: given.getAll("scopes") };
    if (given.get("days")) body.expires_seconds = Number(given.get("days")) * 86400;
    if (given.get("rate")) body.rate = given.get("rate");
    if (given.get("tasks_max")) body.tasks_max = Number(given.get("tasks_max"));
    run(async () => {
      setMade(await post("v1/keys", body));
      await onMade();
    });
  };
  return html`<h2>Make a key</h2>
    ${first ? html`<p class="note">The first key locks this server: make one with the scope <code>admin</code> first, and sign in with it.</p>` : null}
    <form class="find" onSubmit=${create}>
      <label>Owner<input name="owner" required placeholder="team-images" /></label>
      <fieldset><legend>Scopes</legend>${Object.entries(SCOPES).map(([scope, about]) => html`<label class="check" title=${about}>
        <input type="checkbox" name="scopes" value=${scope} defaultChecked=${first ? scope === "admin" : scope === "submit" || scope === "read"} /> ${scope}</label>`)}</fieldset>
      <label>Valid for days<input name="days" type="number" min="1" placeholder="for ever" /></label>
      <label>Rate<input name="rate" placeholder="600/m" /></label>
      <label>Unfinished tasks<input name="tasks_max" type="number" min="1" placeholder="any number" /></label>
      <button type="submit" class="primary" disabled=${busy}>Make it</button>
    </form>
    <${Trouble} error=${error} />
    ${made ? html`<div class="note" role="status"><p>This is the key. It is shown now and never again:</p><p><code class="value">${made.key}</code> <${Copy} text=${made.key} /></p></div>` : null}`;
}
