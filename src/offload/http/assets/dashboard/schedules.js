// What runs by the clock: when next, what became of it last, pausing, and making another.
import { html, useState } from "./preact.js";
import { del, get, put } from "./api.js";
import { clock, count, seconds, short } from "./format.js";
import { useLive } from "./live.js";
import { Badge, Confirm, Empty, Title, Trouble, useAction, useLoaded } from "./parts.js";

export function Schedules({ me }) {
  const { overview } = useLive();
  const [found, error, again] = useLoaded(() => get("v1/schedules?limit=1000"), [overview ? overview.changes : 0]);
  const [ending, setEnding] = useState(null);
  const [run, busy, wrong] = useAction();
  const change = (action) => run(async () => {
    await action();
    await again();
  });
  const drop = () => {
    const place = ending.links.self;
    setEnding(null);
    return change(() => del(place));
  };
  const schedules = found ? found.schedules : [];
  return html`<${Title}>Schedules<//>
    <${Trouble} error=${wrong || error} />
    ${found && !schedules.length ? html`<${Empty}>Nothing runs by the clock yet.<//>` : null}
    ${schedules.length ? html`<div class="scroll"><table>
      <thead><tr><th scope="col">Schedule</th><th scope="col">Job</th><th scope="col">Due</th><th scope="col">State</th><th scope="col">Next</th><th scope="col">Last</th>
        <th scope="col" class="number">Made</th><th scope="col" class="number">Missed</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead>
      <tbody>${schedules.map((each) => html`<tr key=${`${each.owner}/${each.name}`}>
        <th scope="row">${each.name}<small>${[each.owner, each.declared ? "declared in the code" : ""].filter(Boolean).join(" · ")}</small></th>
        <td>${each.job}</td>
        <td>${each.cron ? html`<code>${each.cron}</code><small>${each.timezone}</small>` : `every ${seconds(each.every)}`}</td>
        <td>${each.trouble ? html`<span class="badge failed">trouble</span><small>${each.trouble}</small>` : html`<span class=${`badge ${each.paused ? "paused" : "done"}`}>${each.paused ? "paused" : "active"}</span>`}</td>
        <td>${each.paused || !each.next.length ? "–" : clock(each.next[0])}</td>
        <td>${each.last && each.last.task ? html`<a class="id" href=${`#/tasks/${each.last.task}`}>${short(each.last.task)}</a>
          ${each.last.status ? html` <${Badge} status=${each.last.status} />` : null}<small>${clock(each.last.due_at)}</small>` : "–"}</td>
        <td class="number">${count(each.fired)}</td><td class="number">${count(each.missed)}</td>
        <td>${me.may("submit") && !each.declared ? html`<div class="buttons">
          <button type="button" disabled=${busy} onClick=${() => change(() => put(each.links.self, { ...each, paused: !each.paused }))} aria-label=${`${each.paused ? "Resume" : "Pause"} schedule ${each.name}`}>${each.paused ? "Resume" : "Pause"}</button>
          <button type="button" disabled=${busy} onClick=${() => setEnding(each)} aria-label=${`Delete schedule ${each.name}`}>Delete…</button></div>` : null}</td>
      </tr>`)}</tbody></table></div>` : null}
    ${me.may("submit") ? html`<${NewSchedule} jobs=${overview ? overview.jobs : []} onMade=${again} />` : null}
    ${ending ? html`<${Confirm} title=${`Delete the schedule ${ending.name}?`} action="Delete it" onYes=${drop} onNo=${() => setEnding(null)}>
      <p>It makes no more tasks. Those that it made stay.</p><//>` : null}`;
}

function NewSchedule({ jobs, onMade }) {
  const [run, busy, error] = useAction();
  const create = (event) => {
    event.preventDefault();
    const form = event.target;
    const given = new FormData(form);
    run(async () => {
      const body = { job: given.get("job"), input: JSON.parse(given.get("input") || "{}"), catch_up: given.get("catch_up") };
      if (given.get("cron")) Object.assign(body, { cron: given.get("cron"), timezone: given.get("timezone") || "UTC" });
      else body.every = given.get("every");
      await put(`v1/schedules/${encodeURIComponent(given.get("name"))}`, body);
      form.reset();
      await onMade();
    });
  };
  return html`<h2>Make or change a schedule</h2>
    <form class="find" onSubmit=${create}>
      <label>Name<input name="name" required placeholder="monthly" /></label>
      <label>Job<select name="job">${jobs.map((job) => html`<option value=${job.name}>${job.name}</option>`)}</select></label>
      <label>Input, as JSON<input name="input" placeholder="{}" /></label>
      <label>Every<input name="every" placeholder="5m" /></label>
      <label>or cron<input name="cron" placeholder="30 2 * * mon-fri" /></label>
      <label>Time zone<input name="timezone" placeholder="UTC" /></label>
      <label>After a stop<select name="catch_up"><option value="last">run once for what was missed</option><option value="skip">skip what was missed</option><option value="all">run all that was missed</option></select></label>
      <button type="submit" class="primary" disabled=${busy}>Save</button>
    </form>
    <${Trouble} error=${error} />`;
}
