// A task's life as a line: when it was in which state, and how long; built from its status events.
import { html, useEffect, useState } from "./preact.js";
import { between, clock, seconds } from "./format.js";

export function Timeline({ task, events }) {
  const [, setBeat] = useState(0);
  useEffect(() => {
    if (task.finished_at) return undefined;
    const timer = setInterval(() => setBeat((before) => before + 1), 1000);
    return () => clearInterval(timer);
  }, [task.finished_at]);
  const moments = events.filter((event) => event.kind === "status").map((event) => event.data);
  if (!moments.length) return null;
  const end = task.finished_at || new Date().toISOString();
  const parts = moments.map((moment, i) => ({
    ...moment,
    returned: i > 0 && moment.status === "QUEUED" && moments[i - 1].status === "RUNNING" && moments[i - 1].attempt > moment.attempt,
    from: moment.at,
    to: i + 1 < moments.length ? moments[i + 1].at : task.finished_at ? moment.at : end,
  }));
  const whole = Math.max(0.001, between(parts[0].from, parts[parts.length - 1].to));
  return html`<h2>Timeline</h2>
    <svg class="life" viewBox="0 0 1000 18" preserveAspectRatio="none" role="img" aria-label=${`States over ${seconds(whole)}`}>
      ${parts.map((part) => {
        const x = (between(parts[0].from, part.from) / whole) * 1000;
        const width = Math.max(2, (between(part.from, part.to) / whole) * 1000);
        return html`<rect class=${part.status.toLowerCase()} x=${x} y="0" width=${width} height="18"><title>${part.status} ${seconds(between(part.from, part.to))}</title></rect>`;
      })}
    </svg>
    <ol class="timeline">${parts.map((part, i) => html`<li key=${i}>
      <time datetime=${part.at}>${clock(part.at)}</time>
      <span class=${`badge ${part.status.toLowerCase()}`}>${part.status}</span>
      <span>${said(part)}</span>
      <span class="dim took">${part.to !== part.from ? seconds(between(part.from, part.to)) : ""}</span>
    </li>`)}</ol>`;
}

function said(part) {
  const words = part.returned ? ["given back before it began"] : [];
  if (part.attempt) words.push(`attempt ${part.attempt}`);
  if (part.reason) words.push(part.reason);
  if (part.error && part.error.message) words.push(part.error.message);
  if (part.run_at) words.push(`not before ${clock(part.run_at)}`);
  if (part.cancel_requested) words.push("asked to stop");
  return words.join(" · ");
}
