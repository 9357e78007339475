// Running a job by hand: a form from its schema, the upload's progress, and the task's page as it goes.
import { html, useEffect, useState } from "./preact.js";
import { get, post, upload } from "./api.js";
import { Field, inputOf, parametersOf } from "./form.js";
import { seconds } from "./format.js";
import { Empty, Progress, Title, Trouble } from "./parts.js";
import { TaskPage } from "./task.js";

export function Jobs() {
  const [found, setFound] = useState({});
  useEffect(() => {
    get("v1/jobs").then((jobs) => setFound({ jobs: jobs.jobs }), (error) => setFound({ error }));
  }, []);
  return html`<${Title}>Run a job<//>
    <${Trouble} error=${found.error} />
    <ul class="cards">${(found.jobs || []).map((job) => html`<li key=${job.name}><a href=${`#/run/${job.name}`}>
      <strong>${job.name}</strong><span>${firstLine(job.description)}</span><small>queue ${job.queue}</small></a></li>`)}</ul>`;
}

export function RunJob({ name, query, go, me }) {
  const [job, setJob] = useState(null);
  const [error, setError] = useState(null);
  const [values, setValues] = useState({});
  const [sent, setSent] = useState(null);
  const [taskId, setTaskId] = useState(null);
  useEffect(() => {
    setJob(null);
    setTaskId(null);
    setValues({});
    get(`v1/jobs/${encodeURIComponent(name)}`).then(setJob, setError);
    const like = query.get("like");
    if (like) get(`v1/tasks/${encodeURIComponent(like)}`).then((task) => setValues(typed(task.input || {})), () => {});
  }, [name, query.get("like")]);
  if (!job) return html`<${Title}>Run ${name}<//>${error ? html`<${Trouble} error=${error} />` : html`<${Empty}>Loading…<//>`}`;
  const parameters = parametersOf(job.input);
  const wrong = Object.fromEntries(((error && error.errors) || []).map((each) => [String((each.loc || [])[0]), each.message]));
  const submit = async (event) => {
    event.preventDefault();
    setError(null);
    try {
      const { input, files } = inputOf(parameters, values);
      setSent(0);
      setTaskId((await send(name, input, files, setSent)).id);
    } catch (problem) {
      setError(problem);
    } finally {
      setSent(null);
    }
  };
  return html`<${Title}>Run ${name}<//>
    <p>${job.description}</p>
    <p class="dim">queue ${job.queue}${job.timeout_seconds ? ` · at most ${seconds(job.timeout_seconds)}` : ""}</p>
    <form class="run" onSubmit=${submit} noValidate>
      ${parameters.length ? null : html`<${Empty}>It takes no parameters.<//>`}
      ${parameters.map((parameter) => html`<${Field} key=${parameter.name} parameter=${parameter} value=${values[parameter.name]}
        wrong=${wrong[parameter.name]} onValue=${(value) => setValues((before) => ({ ...before, [parameter.name]: value }))} />`)}
      <${Trouble} error=${error} />
      ${sent !== null ? html`<${Progress} value=${sent} label="upload" />` : null}
      <p class="buttons"><button type="submit" class="primary" disabled=${sent !== null || !me.may("submit")}>Run ${name}</button>
        <a href="#/run">Other jobs</a></p>
    </form>
    ${taskId ? html`<section class="inline" aria-label="The task"><${TaskPage} key=${taskId} id=${taskId} go=${go} me=${me} /></section>` : null}`;
}

async function send(name, input, files, onProgress) {
  const path = `v1/jobs/${encodeURIComponent(name)}`;
  if (!files.length) return post(path, input);
  const form = new FormData();
  for (const [field, value] of Object.entries(input)) form.append(field, typeof value === "string" ? value : JSON.stringify(value));
  for (const [field, file] of files) form.append(field, file, file.name);
  return upload(path, form, onProgress);
}

function typed(input) {
  const found = {};
  for (const [name, value] of Object.entries(input)) {
    if (value === null || (typeof value === "object" && "url" in value)) continue;
    found[name] = typeof value === "string" ? value : JSON.stringify(value);
  }
  return found;
}

function firstLine(text) {
  return (text || "").split("\n")[0];
}
