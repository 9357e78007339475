// What goes on at a glance: queues, the last hour, workers, callbacks that fail.
import { html } from "./preact.js";
import { post } from "./api.js";
import { Failing } from "./callbacks.js";
import { Chart, series } from "./chart.js";
import { bytes, clock, count, rate, seconds, short } from "./format.js";
import { useLive } from "./live.js";
import { Empty, Fact, Title, Trouble, useAction } from "./parts.js";

export function Overview({ me }) {
  const { overview, history } = useLive();
  if (!overview) return html`<${Title}>Overview<//><${Empty}>Waiting for the server…<//>`;
  const queues = overview.queues;
  const sum = (field) => queues.reduce((total, queue) => total + (queue[field] || 0), 0);
  return html`<${Title}>Overview<//>
    <${Checks} checks=${overview.checks} />
    <dl class="facts wide">
      <${Fact} name="Waiting">${count(sum("queued"))}<//>
      <${Fact} name="Running">${count(sum("running"))}<//>
      <${Fact} name="Arriving / s">${rate(sum("arrivals_per_second"))}<//>
      <${Fact} name="Finishing / s">${rate(sum("completions_per_second"))}<//>
      ${overview.workers ? html`<${Fact} name="Workers">${overview.workers.length}<//>` : null}
      ${overview.worker_deaths !== undefined ? html`<${Fact} name="Workers that died" hint="since this node started">${count(overview.worker_deaths)}<//>` : null}
      ${overview.callback_hosts_failing !== undefined
        ? html`<${Fact} name="Callback hosts failing"><a href="#/callbacks?state=PENDING">${count(overview.callback_hosts_failing)}</a><//>`
        : null}
    </dl>
    <${Hour} history=${history} queues=${queues.map((queue) => queue.name)} />
    <h2>Queues</h2>
    <${Queues} queues=${queues} admin=${me.admin} />
    ${overview.callback_hosts_failing === 0 ? null : html`<${Failing} />`}
    <${Nodes} nodes=${overview.nodes || []} />
    ${overview.workers ? html`<h2>Workers of this node</h2><${Workers} workers=${overview.workers} />` : null}`;
}

function Checks({ checks }) {
  const wrong = Object.entries(checks || {}).filter(([, said]) => said !== "ok");
  if (!wrong.length) return null;
  return html`<div class="trouble" role="alert"><strong>This node is not well.</strong>
    <ul>${wrong.map(([name, said]) => html`<li>${name}: ${said}</li>`)}</ul></div>`;
}

function Hour({ history, queues }) {
  if (!history || !Object.keys(history.queues).length) return null;
  const values = (column, perSecond) => series(history, queues, column, perSecond);
  const step = history.step_seconds;
  return html`<section class="charts" aria-label="The last hour">
    <${Chart} title="Tasks per second" unit="per second" step=${step} lines=${[
      { name: "arrived", kind: "arrived", values: values("arrivals", true) },
      { name: "done", kind: "done", values: values("done", true) },
      { name: "failed or canceled", kind: "failed", values: values("failed", true) },
    ]} />
    <${Chart} title="Tasks unfinished" unit="tasks" step=${step} lines=${[
      { name: "waiting", kind: "queued", values: values("queued", false) },
      { name: "running", kind: "running", values: values("running", false) },
    ]} />
  </section>`;
}

function Queues({ queues, admin }) {
  const [run, busy, error] = useAction();
  const turn = (queue) => run(() => post(`v1/queues/${encodeURIComponent(queue.name)}/${queue.state === "paused" ? "resume" : "pause"}`));
  return html`<${Trouble} error=${error} />
    <div class="scroll"><table>
      <thead><tr>
        <th scope="col">Queue</th><th scope="col">State</th><th scope="col" class="number">Waiting</th><th scope="col" class="number">Running</th>
        <th scope="col">Full</th><th scope="col" class="number">In / s</th><th scope="col" class="number">Out / s</th>
        <th scope="col" class="number">Oldest wait</th><th scope="col" class="number">New task waits</th><th scope="col"><span class="hidden">Actions</span></th>
      </tr></thead>
      <tbody>${queues.map((queue) => html`<tr key=${queue.name}>
        <th scope="row" class="name"><a href=${`#/tasks?queue=${encodeURIComponent(queue.name)}`}>${queue.name}</a><small>${queue.jobs.join(", ")}</small></th>
        <td><span class=${`badge ${queue.state}`}>${queue.state}</span></td>
        <td class="number">${count(queue.queued)}</td>
        <td class="number">${count(queue.running)}</td>
        <td><${Full} queue=${queue} /></td>
        <td class="number">${rate(queue.arrivals_per_second)}</td>
        <td class="number">${rate(queue.completions_per_second)}</td>
        <td class="number">${seconds(queue.oldest_wait_seconds)}</td>
        <td class="number">${seconds(queue.predicted_wait_seconds)}</td>
        <td>${admin ? html`<button type="button" disabled=${busy} onClick=${() => turn(queue)} aria-label=${`${queue.state === "paused" ? "Resume" : "Pause"} queue ${queue.name}`}>
          ${queue.state === "paused" ? "Resume" : "Pause"}</button>` : null}</td>
      </tr>`)}</tbody>
    </table></div>`;
}

function Full({ queue }) {
  const part = Math.max(queue.tasks / queue.tasks_max, queue.bytes / queue.bytes_max);
  const said = `${count(queue.tasks)} of ${count(queue.tasks_max)} tasks, ${bytes(queue.bytes)} of ${bytes(queue.bytes_max)}`;
  return html`<meter min="0" max="1" high="0.8" value=${Math.min(1, part)} title=${said} aria-label=${said}></meter><small>${count(queue.tasks)} / ${count(queue.tasks_max)}</small>`;
}

function Workers({ workers }) {
  if (!workers.length) return html`<${Empty}>This node runs no workers.<//>`;
  return html`<div class="scroll"><table>
    <thead><tr><th scope="col">Process</th><th scope="col">Lane</th><th scope="col">Runs</th><th scope="col" class="number">For</th><th scope="col" class="number">Memory</th><th scope="col" class="number">Tasks done</th></tr></thead>
    <tbody>${workers.map((worker) => html`<tr key=${worker.pid}>
      <th scope="row">${worker.pid}</th>
      <td>${worker.lane}</td>
      <td>${worker.tasks.length ? worker.tasks.slice(0, 4).map((id) => html`<a class="id" href=${`#/tasks/${id}`}>${short(id)}</a> `) : html`<span class="dim">idle</span>`}
        ${worker.tasks.length > 4 ? html`<span class="dim">and ${worker.tasks.length - 4} more</span>` : null}</td>
      <td class="number">${worker.tasks.length ? seconds(worker.busy_seconds) : "–"}</td>
      <td class="number">${bytes(worker.memory_bytes)}</td>
      <td class="number">${count(worker.tasks_done)}</td>
    </tr>`)}</tbody>
  </table></div>`;
}

/** All nodes of the store, when there are others than the one that answers. */
function Nodes({ nodes }) {
  if (nodes.length < 2) return null;
  return html`<h2>Nodes</h2>
    <div class="scroll"><table>
      <thead><tr><th scope="col">Node</th><th scope="col">State</th><th scope="col">Answers HTTP</th><th scope="col" class="number">Workers</th><th scope="col" class="number">Running</th>
        <th scope="col" class="number">Out / s</th><th scope="col">Queues</th><th scope="col">Since</th><th scope="col">Version</th></tr></thead>
      <tbody>${nodes.map((node) => html`<tr key=${node.name}>
        <th scope="row">${node.name}</th>
        <td><span class=${`badge ${node.stopping ? "paused" : node.present ? "done" : "failed"}`}>${node.stopping ? "stopping" : node.present ? "present" : "not heard of"}</span>
          ${node.present ? null : html`<small>since ${clock(node.seen_at)}</small>`}</td>
        <td>${node.serves ? "yes" : "no"}</td>
        <td class="number">${count(node.workers)}</td><td class="number">${count(node.running)}</td><td class="number">${rate(node.completions_per_second)}</td>
        <td>${node.queues.join(", ") || "–"}</td><td>${clock(node.started_at)}</td><td>${node.version}</td>
      </tr>`)}</tbody></table></div>`;
}
