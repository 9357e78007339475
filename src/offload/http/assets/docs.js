"use strict";
// Builds the reference from openapi.json. Data becomes text nodes only, never markup.

const METHODS = ["get", "post", "put", "delete"];
const TAGS = ["jobs", "tasks", "files", "queues", "keys", "node"];
let api = {};
let key = ""; // kept in this page only

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function follow(thing) {
  if (!thing || !thing.$ref || !thing.$ref.startsWith("#/")) return thing || {};
  return thing.$ref.slice(2).split("/").reduce((found, key) => (found || {})[key], api) || {};
}

function typeOf(schema) {
  if (!schema) return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return "list of " + typeOf(schema.items);
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type || "anything";
  return schema.format ? `${type} (${schema.format})` : type;
}

function local(schema, root) {
  if (schema && schema.$ref && schema.$ref.startsWith("#/$defs/")) return (root.$defs || {})[schema.$ref.slice(8)] || {};
  return follow(schema);
}

function example(given, root, depth = 0) {
  const schema = local(given, root);
  if (depth > 6) return null;
  if (schema.examples && schema.examples.length) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf) return example(schema.anyOf[0], root, depth + 1);
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (type === "object") {
    const wanted = schema.required || [];
    return Object.fromEntries(Object.entries(schema.properties || {})
      .filter(([name]) => wanted.includes(name)).map(([name, inner]) => [name, example(inner, root, depth + 1)]));
  }
  if (type === "array") return schema.items ? [example(schema.items, root, depth + 1)] : [];
  if (type === "integer" || type === "number") return schema.minimum || 1;
  if (type === "boolean") return false;
  if (type === "null") return null;
  if (schema.format === "binary") return "data:text/plain,hello";
  return "text";
}

function table(heads, rows) {
  return make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", {}, head)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))))));
}

function fieldsTable(schema) {
  const wanted = schema.required || [];
  return table(["Field", "Type", "Meaning"], Object.entries(schema.properties || {}).map(([name, field]) =>
    [make("code", {}, name + (wanted.includes(name) ? "" : "?")), typeOf(field), field.description || ""]));
}

function schemaView(given) {
  const schema = follow(given);
  const parts = [];
  if (given.$ref) parts.push(make("p", {}, "See ", make("a", { href: "#schema-" + given.$ref.split("/").pop() }, typeOf(given)), "."));
  else if (schema.properties) parts.push(fieldsTable(schema));
  else parts.push(make("p", {}, typeOf(schema)));
  parts.push(make("details", {}, make("summary", { class: "soft" }, "JSON Schema"), make("pre", {}, JSON.stringify(given.$ref ? given : schema, null, 2))));
  return parts;
}

async function send(method, path, form, output) {
  const query = new URLSearchParams();
  const headers = withKey();
  let url = path;
  let body;
  for (const field of form.querySelectorAll("[data-where]")) {
    if (field.value === "") continue;
    if (field.dataset.where === "path") url = url.replace(`{${field.name}}`, encodeURIComponent(field.value));
    else if (field.dataset.where === "query") query.set(field.name, field.value);
    else if (field.dataset.where === "header") headers[field.name] = field.value;
    else { body = field.value; headers["Content-Type"] = "application/json"; }
  }
  if ([...query].length) url += "?" + query;
  output.textContent = `${method.toUpperCase()} ${url} …`;
  try {
    const began = performance.now();
    const answer = await fetch(url, { method: method.toUpperCase(), headers, body });
    const kind = answer.headers.get("content-type") || "";
    let text = kind.startsWith("text/") || kind.includes("json") ? await answer.text() : `(${(await answer.blob()).size} bytes of ${kind || "nothing"})`;
    if (kind.includes("json")) try { text = JSON.stringify(JSON.parse(text), null, 2); } catch (error) { /* shown as it is */ }
    const shown = ["location", "retry-after", "etag", "preference-applied", "idempotency-replayed", "offload-request-id"]
      .filter((name) => answer.headers.has(name)).map((name) => `${name}: ${answer.headers.get(name)}`);
    output.textContent = [`${answer.status} ${answer.statusText} in ${Math.round(performance.now() - began)} ms`, ...shown, "", text].join("\n");
  } catch (error) {
    output.textContent = `No answer: ${error.message}`;
  }
}

function tryIt(method, path, operation) {
  const content = (operation.requestBody || {}).content || {};
  if (operation.requestBody && !content["application/json"]) return null;
  const output = make("pre", { "aria-live": "polite" }, "");
  const rows = (operation.parameters || []).map((parameter) => make("label", {}, parameter.name + (parameter.required ? "" : "?"),
    make("input", { name: parameter.name, "data-where": parameter.in, required: parameter.required, placeholder: typeOf(parameter.schema) })));
  const json = content["application/json"];
  if (json) {
    const area = make("textarea", { name: "body", "data-where": "body", "aria-label": "JSON body", spellcheck: "false" });
    area.value = JSON.stringify(example(json.schema, json.schema), null, 2);
    rows.push(area);
  }
  const form = make("form", { class: "try", onsubmit: (event) => { event.preventDefault(); send(method, path, form, output); } },
    make("strong", {}, "Try it"), ...rows, make("button", { type: "submit" }, "Send"), output);
  return form;
}

function bodyView(operation) {
  return Object.entries((operation.requestBody || {}).content || {}).flatMap(([kind, found]) =>
    [make("h3", {}, "Body: ", make("code", {}, kind)), ...schemaView(found.schema)]);
}

function operationView(method, path, operation) {
  const answers = Object.entries(operation.responses).map(([status, given]) => {
    const response = follow(given);
    const kinds = Object.entries(response.content || {}).map(([kind, found]) => `${kind}: ${typeOf(found.schema)}`);
    return [status, response.description || "", kinds.join(", ")];
  });
  const inside = make("div", {});
  const view = make("details", { class: "operation", id: `${method}-${path}` },
    make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()), make("span", { class: "path" }, path), make("span", { class: "soft" }, operation.summary || "")), inside);
  view.addEventListener("toggle", () => {
    if (inside.firstChild) return;
    if (operation.description) inside.append(make("p", { class: "said" }, operation.description));
    if ((operation.parameters || []).length) inside.append(make("h3", {}, "Parameters"), table(["Name", "In", "Type", "Meaning"],
      operation.parameters.map((each) => [make("code", {}, each.name + (each.required ? "" : "?")), each.in, typeOf(each.schema), each.description || ""])));
    inside.append(...bodyView(operation), make("h3", {}, "Answers"), table(["Status", "Meaning", "Body"], answers));
    const form = tryIt(method, path, operation);
    if (form) inside.append(form);
  });
  return view;
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView();
}

function show() {
  document.getElementById("about").textContent = `${api.info.title} ${api.info.version}. ${api.info.description}`;
  const every = Object.entries(api.paths).flatMap(([path, methods]) => METHODS.filter((method) => methods[method]).map((method) => [method, path, methods[method]]));
  const contents = document.getElementById("contents");
  const operations = document.getElementById("operations");
  for (const tag of TAGS) {
    const found = every.filter(([, , operation]) => (operation.tags || [])[0] === tag);
    contents.append(make("h2", {}, tag), ...found.map(([method, path]) =>
      make("a", { href: `#${method}-${path}` }, make("span", { class: `method ${method}` }, method.toUpperCase()), " " + path)));
    operations.append(make("h2", {}, tag), ...found.map(([method, path, operation]) => operationView(method, path, operation)));
  }
  const codes = document.querySelector("#codes tbody");
  for (const [status, response] of Object.entries(api.components.responses)) {
    for (const said of (response.description || "").split(/(?<=\.) (?=`)/)) {
      const [, code, meaning] = said.match(/^`(\w+)`: (.*)$/) || [null, said, ""];
      codes.append(make("tr", document.getElementById(code) ? {} : { id: code }, make("td", {}, make("code", {}, code)), make("td", {}, status), make("td", {}, meaning)));
    }
  }
  const components = document.getElementById("components");
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    components.append(make("details", { class: "operation", id: `schema-${name}` }, make("summary", {}, make("code", {}, name), make("span", { class: "soft" }, schema.description || "")), make("div", {}, ...schemaView(schema))));
  }
  document.getElementById("find").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const view of operations.querySelectorAll("details")) view.hidden = !view.textContent.toLowerCase().includes(wanted);
  });
  window.addEventListener("hashchange", openTarget);
  openTarget();
}

function withKey() {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function read() {
  const about = document.getElementById("about");
  const unlock = document.getElementById("unlock");
  try {
    const answer = await fetch("/openapi.json", { headers: withKey() });
    const found = await answer.json();
    unlock.hidden = answer.status !== 401;
    if (answer.ok) { api = found; show(); }
    else about.textContent = answer.status === 401 && !key
      ? "This server has keys. Give yours to see its jobs; it stays in this page and is forgotten with it."
      : `openapi.json cannot be read: ${found.detail}`;
  } catch (error) {
    about.textContent = `openapi.json cannot be read: ${error.message}`;
  }
}

document.getElementById("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  key = document.getElementById("key").value.trim();
  read();
});
read();
