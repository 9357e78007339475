// The same call as curl, Python and JavaScript, ready to be pasted.
import { html, useState } from "./preact.js";
import { BASE } from "./api.js";
import { Copy } from "./parts.js";

export function Snippets({ task }) {
  const made = snippets(task.job, task.input || {});
  const [shown, setShown] = useState("curl");
  return html`<h2>The same call</h2>
    <div class="tabs" role="group" aria-label="Language">${Object.keys(made).map((name) => html`<button type="button" aria-pressed=${name === shown} onClick=${() => setShown(name)}>${name}</button>`)}
      <${Copy} text=${made[shown]} /></div>
    <pre tabindex="0">${made[shown]}</pre>`;
}

export function snippets(job, input) {
  const base = `${location.origin}${BASE}`.replace(/\/$/, "");
  const files = Object.entries(input).filter(([, value]) => named(value));
  const plain = Object.fromEntries(Object.entries(input).filter(([, value]) => !named(value)));
  return { curl: curl(base, job, files, plain), Python: python(base, job, files, plain), JavaScript: javascript(base, job, files, plain) };
}

function curl(base, job, files, plain) {
  const address = shell(`${base}/v1/jobs/${job}`);
  if (!files.length) return `curl ${address} -H 'Content-Type: application/json' -d ${shell(JSON.stringify(plain))}`;
  const fields = Object.entries(plain).map(([name, value]) => `-F ${shell(`${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)}`);
  return [`curl ${address}`, ...files.flatMap(([name, value]) => list(value).map((file) => `-F ${shell(`${name}=@${file.name}`)}`)), ...fields].join(" \\\n  ");
}

function python(base, job, files, plain) {
  const given = [
    ...files.map(([name, value]) => `${name}=${Array.isArray(value) ? `[${value.map(opened).join(", ")}]` : opened(value)}`),
    ...Object.entries(plain).map(([name, value]) => `${name}=${literal(value)}`),
  ];
  const imports = files.length ? "from pathlib import Path\n\n" : "";
  return `${imports}from offload import Client\n\nwith Client(${JSON.stringify(base)}) as client:\n    task = client.submit(${[JSON.stringify(job), ...given].join(", ")})\n    print(task.result())`;
}

function javascript(base, job, files, plain) {
  const address = JSON.stringify(`${base}/v1/jobs/${job}`);
  const head = `import { offloadFetch } from ${JSON.stringify(`${base}/client.js`)};\n\n`;
  if (!files.length) {
    return `${head}const answer = await offloadFetch(${address}, {\n  method: "POST",\n  headers: { "content-type": "application/json" },\n  body: JSON.stringify(${JSON.stringify(plain)}),\n});\nconsole.log(await answer.json());`;
  }
  const lines = [
    ...files.flatMap(([name, value]) => list(value).map(() => `form.append(${JSON.stringify(name)}, file);`)),
    ...Object.entries(plain).map(([name, value]) => `form.append(${JSON.stringify(name)}, ${JSON.stringify(typeof value === "string" ? value : JSON.stringify(value))});`),
  ];
  return `${head}const form = new FormData();\n${lines.join("\n")}\nconst answer = await offloadFetch(${address}, { method: "POST", body: form });\nconsole.log(await answer.blob());`;
}

function named(value) {
  return list(value).length > 0 && list(value).every((each) => each !== null && typeof each === "object" && "url" in each && "size" in each);
}

function list(value) {
  return Array.isArray(value) ? value : [value];
}

function opened(file) {
  return `Path(${JSON.stringify(file.name)})`;
}

function literal(value) {
  return JSON.stringify(value, null, 0).replace(/\btrue\b|\bfalse\b|\bnull\b|"(?:[^"\\]|\\.)*"/g, (word) => ({ true: "True", false: "False", null: "None" })[word] || word);
}

function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
