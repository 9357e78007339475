// Shows values and files in place, without ever letting what is in them become part of the page.
import { html, useEffect, useState } from "./preact.js";
import { text, url } from "./api.js";
import { bytes } from "./format.js";
import { Paper } from "./paper.js";
import { Trouble } from "./parts.js";

const TEXT_MOST = 100000;
const ROWS_MOST = 100;
const INLINE_MOST = 20000;
const IMAGES = /^image\/(png|jpeg|gif|webp|avif|bmp)$/;

/** A JSON value; one that describes a stored file is shown as that file, a list of like objects as a table. */
export function Value({ value }) {
  if (isFile(value)) return html`<${File} file=${{ ...value, url: url(value.url) }} />`;
  if (Array.isArray(value) && value.length && value.every(isFile)) return html`<div class="files">${value.map((each) => html`<${Value} value=${each} />`)}</div>`;
  if (isTable(value)) return html`<${Table} columns=${columnsOf(value)} rows=${value.map((row) => columnsOf(value).map((name) => cell(row[name])))} />`;
  if (typeof value === "string" && !value.includes("\n") && value.length < 200) return html`<code class="value">${value === "" ? '""' : value}</code>`;
  if (value === null || typeof value === "number" || typeof value === "boolean") return html`<code class="value">${String(value)}</code>`;
  const shown = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const cut = shown.length > INLINE_MOST;
  return html`<pre tabindex="0" class="value">${cut ? shown.slice(0, INLINE_MOST) : shown}</pre>${cut ? html`<p class="dim">and ${shown.length - INLINE_MOST} more characters</p>` : null}`;
}

export function File({ file }) {
  const type = (file.type || "").split(";")[0];
  return html`<figure class="file">
    ${shownAs(type, file)}
    <figcaption><a href=${file.url} download=${file.name}>${file.name}</a> <span class="dim">${type || "unknown type"}, ${bytes(file.size)}</span></figcaption>
  </figure>`;
}

function shownAs(type, file) {
  if (IMAGES.test(type)) return html`<img src=${file.url} alt=${file.name} loading="lazy" />`;
  if (type.startsWith("audio/")) return html`<audio controls preload="none" src=${file.url} aria-label=${file.name}></audio>`;
  if (type.startsWith("video/")) return html`<video controls preload="metadata" src=${file.url} aria-label=${file.name}></video>`;
  if (type === "application/pdf") return html`<${Paper} file=${file} />`;
  if (type === "text/csv" || type === "text/tab-separated-values") return html`<${Sheet} file=${file} separator=${type === "text/csv" ? "," : "\t"} />`;
  if (type === "application/json" || type.startsWith("text/")) return html`<${Text} file=${file} />`;
  return null;
}

function Text({ file }) {
  const [shown, error] = useText(file);
  return html`<${Trouble} error=${error} /><pre tabindex="0" class="value">${shown}</pre>
    ${file.size > TEXT_MOST ? html`<p class="dim">the first ${bytes(TEXT_MOST)}</p>` : null}`;
}

function Sheet({ file, separator }) {
  const [shown, error] = useText(file);
  const rows = parse(shown, separator);
  if (!rows.length) return html`<${Trouble} error=${error} />`;
  return html`<${Table} columns=${rows[0]} rows=${rows.slice(1)} />`;
}

function useText(file) {
  const [found, setFound] = useState(["", null]);
  useEffect(() => {
    let current = true;
    text(file.url, file.size > TEXT_MOST ? TEXT_MOST : 0).then(
      (read) => current && setFound([read, null]),
      (error) => current && setFound(["", error]),
    );
    return () => {
      current = false;
    };
  }, [file.url]);
  return found;
}

function Table({ columns, rows }) {
  return html`<div class="scroll" tabindex="0"><table class="data">
    <thead><tr>${columns.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
    <tbody>${rows.slice(0, ROWS_MOST).map((row, i) => html`<tr key=${i}>${row.map((each) => html`<td>${each}</td>`)}</tr>`)}</tbody>
  </table></div>${rows.length > ROWS_MOST ? html`<p class="dim">the first ${ROWS_MOST} of ${rows.length} rows</p>` : null}`;
}

function isFile(value) {
  return value !== null && typeof value === "object" && typeof value.url === "string" && typeof value.size === "number" && /\/v1\/tasks\/[0-9a-f-]{36}\//.test(value.url) && value.url.startsWith("/") && !value.url.startsWith("//");
}

export function isTable(value) {
  return Array.isArray(value) && value.length > 1 && value.every((row) => row !== null && typeof row === "object" && !Array.isArray(row)) && columnsOf(value).length <= 20;
}

function columnsOf(rows) {
  return [...new Set(rows.slice(0, ROWS_MOST).flatMap((row) => Object.keys(row)))];
}

function cell(value) {
  return typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value);
}

/** Reads separated values by RFC 4180; a last line that was cut off is left out by nobody: it is shown as it is. */
function parse(source, separator) {
  const rows = [];
  let row = [];
  let field = "";
  let quoted = false;
  for (let i = 0; i < source.length && rows.length <= ROWS_MOST + 1; i += 1) {
    const c = source[i];
    if (quoted) {
      if (c !== '"') field += c;
      else if (source[i + 1] === '"') field += source[(i += 1)];
      else quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === separator) {
      row.push(field);
      field = "";
    } else if (c === "\n") {
      rows.push([...row, field.replace(/\r$/, "")]);
      row = [];
      field = "";
    } else field += c;
  }
  if (field || row.length) rows.push([...row, field]);
  return rows;
}
