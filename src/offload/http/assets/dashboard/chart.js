// Small charts of the last hour, as SVG: they take the page's colours and say in words what they show.
import { html } from "./preact.js";

const WIDTH = 600;
const HEIGHT = 120;

/** `lines`: [{name, kind, values}] with one value for each step, oldest first; all share one scale. */
export function Chart({ title, lines, step, unit }) {
  const most = Math.max(1e-9, ...lines.flatMap((line) => line.values));
  const top = nice(most);
  const said = lines.map((line) => `${line.name}: ${shown(last(line.values))} now, at most ${shown(Math.max(...line.values))}`).join("; ");
  return html`<figure class="chart">
    <figcaption>${title}
      ${lines.map((line) => html`<span class=${`key ${line.kind}`}>${line.name} <b>${shown(last(line.values))}</b></span>`)}
    </figcaption>
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${`${title}, the last hour. ${said}`}>
      ${[0.25, 0.5, 0.75].map((part) => html`<line class="grid" x1="0" x2=${WIDTH} y1=${HEIGHT * part} y2=${HEIGHT * part} />`)}
      ${[...lines].reverse().map((line) => html`<path class=${`line ${line.kind}`} d=${path(line.values, top)} />`)}
    </svg>
    <p class="scale"><span>${Math.round((lines[0].values.length * step) / 60)} min ago</span><span>0 – ${shown(top)} ${unit}</span><span>now</span></p>
  </figure>`;
}

function path(values, top) {
  const across = WIDTH / Math.max(1, values.length - 1);
  return values.map((value, i) => `${i ? "L" : "M"}${(i * across).toFixed(1)},${(HEIGHT - 2 - (value / top) * (HEIGHT - 6)).toFixed(1)}`).join("");
}

function nice(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= most) || most;
}

function last(values) {
  return values[values.length - 1] || 0;
}

function shown(value) {
  if (Number.isInteger(value)) return String(value);
  return value >= 100 ? String(Math.round(value)) : value >= 10 ? value.toFixed(1) : String(Number(value.toFixed(2)));
}

/** Turns the history of queues into one value for each step of the last hour; steps without a sample were quiet. */
export function series(history, queues, column, perSecond) {
  const { step_seconds: step, kept_seconds: kept, columns } = history;
  const steps = Math.round(kept / step);
  const end = Math.floor(history.until / step);
  const at = columns.indexOf(column);
  const values = new Array(steps).fill(0);
  for (const queue of queues) {
    for (const row of history.queues[queue] || []) {
      const place = steps - 1 - (end - Math.round(row[0] / step));
      if (place >= 0 && place < steps) values[place] += perSecond ? row[at] / step : row[at];
    }
  }
  return values;
}
