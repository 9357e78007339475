// The same call as curl, Python and JavaScript, ready to be pasted: the job, its input and what was said beside it.
import { html, useState } from "./preact.js";
import { BASE } from "./api.js";
import { Copy } from "./parts.js";

const OWN_TAGS = ["schedule", "due"]; // what a schedule gives to the tasks that it makes
const PLAIN_TAG = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/;

export function Snippets({ task, locked }) {
  const made = snippets(task, locked);
  const [shown, setShown] = useState("curl");
  return html`<h2>The same call</h2>
    <div class="tabs" role="group" aria-label="Language">${Object.keys(made).map((name) => html`<button type="button" aria-pressed=${name === shown} onClick=${() => setShown(name)}>${name}</button>`)}
      <${Copy} text=${made[shown]} /></div>
    <pre tabindex="0">${made[shown]}</pre>`;
}

/** `locked`: this server asks for a key, which each of them takes from where keys belong. */
export function snippets(task, locked) {
  const base = `${location.origin}${BASE}`.replace(/\/$/, "");
  const input = Object.entries(task.input || {});
  const call = {
    base,
    job: task.job,
    files: input.filter(([, value]) => named(value)),
    plain: Object.fromEntries(input.filter(([, value]) => !named(value))),
    options: optionsOf(task),
    locked,
  };
  return { curl: curl(call), Python: python(call), JavaScript: javascript(call) };
}

function optionsOf({ priority, tags, callback }) {
  const options = {};
  if (priority) options.priority = priority;
  const own = Object.entries(tags || {}).filter(([name]) => !OWN_TAGS.includes(name));
  if (own.length) options.tags = Object.fromEntries(own);
  if (callback) options.callback = callback.url;
  return options;
}

/** The options as header fields; a tag that a header cannot hold is left out. */
function fieldsOf({ priority, tags, callback }) {
  const fields = [];
  if (priority) fields.push(["Offload-Priority", String(priority)]);
  const pairs = Object.entries(tags || {}).map((pair) => pair.join("=")).filter((pair) => PLAIN_TAG.test(pair) && !pair.includes(","));
  if (pairs.length) fields.push(["Offload-Tags", pairs.join(", ")]);
  if (callback) fields.push(["Offload-Callback", callback]);
  return fields;
}

function curl({ base, job, files, plain, options, locked }) {
  const parts = [`curl ${shell(`${base}/v1/jobs/${job}`)}`];
  if (locked) parts.push('-H "Authorization: Bearer $OFFLOAD_KEY"');
  for (const [name, value] of fieldsOf(options)) parts.push(`-H ${shell(`${name}: ${value}`)}`);
  if (!files.length) parts.push(`-H 'Content-Type: application/json'`, `-d ${shell(JSON.stringify(plain))}`);
  for (const [name, value] of files) for (const file of list(value)) parts.push(`-F ${shell(`${name}=@${file.name}`)}`);
  if (files.length) for (const [name, value] of Object.entries(plain)) parts.push(`-F ${shell(`${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)}`);
  return parts.join(parts.length > 3 ? " \\\n  " : " ");
}

function python({ base, job, files, plain, options, locked }) {
  const given = [
    ...files.map(([name, value]) => [name, Array.isArray(value) ? `[${value.map(opened).join(", ")}]` : opened(value)]),
    ...Object.entries(plain).map(([name, value]) => [name, literal(value)]),
  ];
  const bare = given.every(([name]) => /^[A-Za-z_]\w*$/.test(name) && name !== "options");
  const input = bare ? given.map((pair) => pair.join("=")) : [`{${given.map(([name, value]) => `${literal(name)}: ${value}`).join(", ")}}`];
  const said = Object.keys(options).length ? [`options=${literal(options)}`] : [];
  const imports = [...(locked ? ["import os"] : []), ...(files.length ? ["from pathlib import Path"] : [])];
  return [
    ...(imports.length ? [...imports, ""] : []),
    "from offload import Client",
    "",
    `with Client(${[literal(base), ...(locked ? ['api_key=os.environ["OFFLOAD_KEY"]'] : [])].join(", ")}) as client:`,
    `    task = client.submit(${[literal(job), ...input, ...said].join(", ")})`,
    "    print(task.result())",
  ].join("\n");
}

function javascript({ base, job, files, plain, options, locked }) {
  const headers = [
    ...(locked ? ["authorization: `Bearer ${key}`"] : []),
    ...fieldsOf(options).map(([name, value]) => `${JSON.stringify(name.toLowerCase())}: ${JSON.stringify(value)}`),
    ...(files.length ? [] : ['"content-type": "application/json"']),
  ];
  const form = [
    ...files.flatMap(([name, value]) => list(value).map(() => `form.append(${JSON.stringify(name)}, file);`)),
    ...Object.entries(plain).map(([name, value]) => `form.append(${JSON.stringify(name)}, ${JSON.stringify(typeof value === "string" ? value : JSON.stringify(value))});`),
  ];
  return [
    `import { offloadFetch } from ${JSON.stringify(`${base}/client.js`)};`,
    "",
    ...(files.length ? ["const form = new FormData();", ...form] : []),
    `const answer = await offloadFetch(${JSON.stringify(`${base}/v1/jobs/${job}`)}, {`,
    '  method: "POST",',
    ...(headers.length ? [`  headers: { ${headers.join(", ")} },`] : []),
    `  body: ${files.length ? "form" : `JSON.stringify(${JSON.stringify(plain)})`},`,
    "});",
    files.length ? "console.log(await answer.blob());" : "console.log(await answer.json());",
  ].join("\n");
}

function named(value) {
  return list(value).length > 0 && list(value).every((each) => each !== null && typeof each === "object" && "url" in each && "size" in each);
}

function list(value) {
  return Array.isArray(value) ? value : [value];
}

function opened(file) {
  return `Path(${literal(file.name)})`;
}

function literal(value) {
  return JSON.stringify(value, null, 0).replace(/\btrue\b|\bfalse\b|\bnull\b|"(?:[^"\\]|\\.)*"/g, (word) => ({ true: "True", false: "False", null: "None" })[word] || word);
}

function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
