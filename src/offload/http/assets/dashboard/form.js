// A form made from a job's JSON Schema: one field for each parameter, files by choosing or dropping them.
import { html, useRef, useState } from "./preact.js";
import { bytes } from "./format.js";

/** Returns the parameters of a job in the order in which it declares them. */
export function parametersOf(schema) {
  const needed = schema.required || [];
  return Object.entries(schema.properties || {}).map(([name, raw]) => {
    const found = plain(resolve(raw, schema));
    const kind = kindOf(found);
    return { name, needed: needed.includes(name), fallback: raw.default, about: raw.description || found.description || "", kind, schema: found, example: kind === "json" ? example(found, schema) : "" };
  });
}

export function Field({ parameter, value, onValue, wrong }) {
  const id = `field-${parameter.name}`;
  const about = [parameter.kind === "json" ? "JSON" : "", parameter.needed ? "" : "optional", parameter.kind === "file" || parameter.kind === "files" ? "" : parameter.about].filter(Boolean).join(" · ");
  return html`<div class="field">
    <label for=${id}>${parameter.name}${parameter.needed ? html` <span class="needed" title="must be given">*</span>` : null}</label>
    <${Input} id=${id} parameter=${parameter} value=${value} onValue=${onValue} wrong=${wrong} />
    ${about ? html`<p class="dim" id=${`${id}-about`}>${about}</p>` : null}
    ${wrong ? html`<p class="wrong" id=${`${id}-wrong`} role="alert">${wrong}</p>` : null}
  </div>`;
}

function Input({ id, parameter, value, onValue, wrong }) {
  const { kind, schema } = parameter;
  const shared = { id, name: parameter.name, "aria-invalid": wrong ? "true" : undefined, "aria-describedby": wrong ? `${id}-wrong` : undefined };
  const hint = parameter.fallback === undefined || parameter.fallback === null ? "" : String(parameter.fallback);
  const set = (event) => onValue(event.target.value);
  if (kind === "file" || kind === "files") return html`<${Drop} id=${id} name=${parameter.name} several=${kind === "files"} files=${value || []} onFiles=${onValue} />`;
  if (kind === "boolean") {
    return html`<select ...${shared} value=${value ?? ""} onChange=${set}><option value="">${parameter.needed ? "choose" : `default${hint ? ` (${hint})` : ""}`}</option>
      <option value="true">true</option><option value="false">false</option></select>`;
  }
  if (kind === "choice") {
    return html`<select ...${shared} value=${value ?? ""} onChange=${set}><option value="">${parameter.needed ? "choose" : `default${hint ? ` (${hint})` : ""}`}</option>
      ${schema.enum.map((each) => html`<option value=${JSON.stringify(each)}>${String(each)}</option>`)}</select>`;
  }
  if (kind === "integer" || kind === "number") {
    return html`<input ...${shared} type="number" step=${kind === "integer" ? 1 : "any"} min=${schema.minimum} max=${schema.maximum} placeholder=${hint} value=${value ?? ""} onInput=${set} />`;
  }
  if (kind === "json") return html`<textarea ...${shared} rows="4" spellcheck="false" placeholder=${parameter.fallback === undefined || parameter.fallback === null ? parameter.example : JSON.stringify(parameter.fallback)} value=${value ?? ""} onInput=${set}></textarea>`;
  if (kind === "text" && schema.format === "date") return html`<input ...${shared} type="date" value=${value ?? ""} onInput=${set} />`;
  return html`<textarea ...${shared} rows="1" placeholder=${hint} value=${value ?? ""} onInput=${set}></textarea>`;
}

function Drop({ id, name, several, files, onFiles }) {
  const [over, setOver] = useState(false);
  const input = useRef(null);
  const take = (list) => list.length && onFiles(several ? [...files, ...list] : [list[0]]);
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    take([...event.dataTransfer.files]);
  };
  return html`<div class=${`drop${over ? " over" : ""}`} onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <input type="file" id=${id} name=${name} ref=${input} multiple=${several} onChange=${(event) => take([...event.target.files])} />
    <p>${files.length ? null : several ? "Choose files, or drop them here" : "Choose a file, or drop it here"}</p>
    <ul>${files.map((file, i) => html`<li key=${i}>${file.name} <span class="dim">${bytes(file.size)}</span>
      <button type="button" class="quiet" aria-label=${`Take away ${file.name}`} onClick=${() => { input.current.value = ""; onFiles(files.filter((_, other) => other !== i)); }}>Take away</button></li>`)}</ul>
  </div>`;
}

/** Turns what was typed into the job's input; raises an Error that names the field. */
export function inputOf(parameters, values) {
  const input = {};
  const files = [];
  for (const parameter of parameters) {
    const value = values[parameter.name];
    if (parameter.kind === "file" || parameter.kind === "files") {
      for (const file of value || []) files.push([parameter.name, file]);
      continue;
    }
    if (value === undefined || (value === "" && (parameter.kind !== "text" || !parameter.needed))) continue;
    input[parameter.name] = read(parameter, value);
  }
  return { input, files };
}

function read({ name, kind }, value) {
  if (kind === "text") return value;
  if (kind === "integer" || kind === "number") return Number(value);
  try {
    return JSON.parse(value);
  } catch (error) {
    throw Object.assign(new Error(`${name} is not valid JSON: ${error.message}`), { errors: [{ loc: [name], message: "is not valid JSON" }] });
  }
}

function resolve(schema, root) {
  if (!schema.$ref) return schema;
  const found = schema.$ref.split("/").slice(1).reduce((at, part) => at && at[part], root);
  return found ? { ...found, description: schema.description || found.description } : {};
}

/** Drops `null` from a choice of types: leaving a field out means the same. */
function plain(schema) {
  const others = (schema.anyOf || []).filter((each) => each.type !== "null");
  return schema.anyOf && others.length === 1 ? { ...schema, ...others[0] } : schema;
}

function kindOf(schema) {
  if (schema.format === "binary") return "file";
  if (schema.type === "array" && schema.items && schema.items.format === "binary") return "files";
  if (schema.enum) return "choice";
  if (["boolean", "integer", "number"].includes(schema.type)) return schema.type;
  return schema.type === "string" ? "text" : "json";
}

/** Writes down what a value could look like: its fields by name, two levels deep. */
function example(schema, root, depth = 0) {
  const found = plain(resolve(schema, root));
  const inner = (each) => (depth < 2 ? example(each, root, depth + 1) : "…");
  if (found.default !== undefined && depth) return JSON.stringify(found.default);
  if (found.type === "array") return found.items ? `[${inner(found.items)}, …]` : "[…]";
  if (found.properties) return `{${Object.entries(found.properties).map(([name, each]) => `"${name}": ${inner(each)}`).join(", ")}}`;
  if (found.type === "object") return "{…}";
  return { string: '"…"', integer: "1", number: "1.5", boolean: "true" }[found.type] || (depth ? "…" : "any JSON");
}
