// What this node promises: what a 202 means here, when lost work comes back, in which order tasks run, and the limits.
import { html } from "./preact.js";
import { get } from "./api.js";
import { bytes, count, seconds } from "./format.js";
import { Empty, Fact, Title, Trouble, useLoaded } from "./parts.js";

const NAMES = {
  json_bytes_max: "JSON body", upload_bytes_max: "Upload", result_bytes_max: "Result", log_bytes_max: "Log of an attempt",
  queue_tasks_max: "Tasks in a queue", queue_bytes_max: "Input in a queue", wait_max_seconds: "Longest wait of a request", job_timeout_seconds: "Run time of a job that sets none",
  payload_seconds: "Input, result and logs after the end", audit_seconds: "The row of a task after the end", file_seconds: "Uploaded files that no task names", key_seconds: "Idempotency keys",
};

export function Promises() {
  const [said, error] = useLoaded(() => get("v1/promises"), []);
  if (!said) return html`<${Title}>What is promised<//>${error ? html`<${Trouble} error=${error} />` : html`<${Empty}>Loading…<//>`}`;
  return html`<${Title}>What is promised<//>
    <dl class="facts">
      <${Fact} name="Store">${said.store}<//><${Fact} name="Durability">${said.durability}<//><${Fact} name="Broker">${said.broker}<//><${Fact} name="Files">${said.blobs}<//>
    </dl>
    <dl class="promises">
      <div><dt>A 202 means</dt><dd>${said.accepted}</dd></div>
      <div><dt>Outcomes</dt><dd>${said.outcome}</dd></div>
      <div><dt>When a node dies</dt><dd>its tasks run again within ${seconds(said.recovery_seconds_max)}, or at its next start if that is sooner</dd></div>
      <div><dt>Order</dt><dd>${said.order}</dd></div>
      <div><dt>Callbacks</dt><dd>${said.delivery}</dd></div>
    </dl>
    <h2>Limits</h2><${Table} values=${said.limits} />
    <h2>How long things are kept</h2><${Table} values=${said.retention} />`;
}

function Table({ values }) {
  return html`<table class="data"><tbody>${Object.entries(values).map(([name, value]) => html`<tr><th scope="row">${NAMES[name] || name}</th><td class="number">${shown(name, value)}</td></tr>`)}</tbody></table>`;
}

function shown(name, value) {
  if (name.includes("bytes")) return bytes(value);
  return name.includes("seconds") ? seconds(value) : count(value);
}
