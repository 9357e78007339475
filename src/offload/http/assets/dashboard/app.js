// The frame around every page: where one is, who one is, and which page belongs to the address.
import { html, render, useEffect, useRef, useState } from "./preact.js";
import { call, del, get, locked } from "./api.js";
import { Callbacks } from "./callbacks.js";
import { Keys } from "./keys.js";
import { connect, disconnect, useLive } from "./live.js";
import { Overview } from "./overview.js";
import { Empty, Title, Trouble, useAction } from "./parts.js";
import { Promises } from "./promises.js";
import { Jobs, RunJob } from "./run.js";
import { Schedules } from "./schedules.js";
import { TaskPage } from "./task.js";
import { Tasks } from "./tasks.js";

const PAGES = [["", "Overview"], ["tasks", "Tasks"], ["run", "Run a job"], ["schedules", "Schedules"], ["callbacks", "Callbacks"], ["keys", "Keys", "admin"], ["promises", "What is promised"]];

function App() {
  const [place, setPlace] = useState(placeNow());
  const [session, setSession] = useState(null);
  const [error, setError] = useState(null);
  const look = () => get("v1/session").then((found) => {
    setError(null);
    setSession(found);
    connect();
  }, (problem) => {
    disconnect();
    if (problem.status === 401) setSession("locked");
    else setError(problem);
  });
  useEffect(() => {
    const moved = () => setPlace(placeNow());
    const shut = () => setSession((before) => (before === null ? null : "locked"));
    addEventListener("hashchange", moved);
    locked.addEventListener("locked", shut);
    look();
    return () => {
      removeEventListener("hashchange", moved);
      locked.removeEventListener("locked", shut);
      disconnect();
    };
  }, []);
  if (session === "locked") return html`<${SignIn} onDone=${look} />`;
  if (session === null) return html`<main class="alone"><${Title}>offload<//><${Trouble} error=${error} />${error ? html`<button type="button" onClick=${look}>Try again</button>` : html`<${Empty}>Loading…<//>`}</main>`;
  const admin = session.scopes.includes("admin");
  const me = { ...session, admin, may: (scope) => admin || session.scopes.includes(scope) };
  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>Skip to the page</a>
    <${Header} place=${place} me=${me} onLeft=${() => setSession("locked")} />
    <main id="main" tabindex="-1"><${Page} key=${place.parts.join("/")} place=${place} me=${me} /></main>`;
}

function Page({ place, me }) {
  const { parts, query } = place;
  const shared = { query, go, me };
  if (parts[0] === undefined) return html`<${Overview} ...${shared} />`;
  if (parts[0] === "tasks") return parts[1] ? html`<${TaskPage} id=${parts[1]} ...${shared} />` : html`<${Tasks} ...${shared} />`;
  if (parts[0] === "run") return parts[1] ? html`<${RunJob} name=${parts[1]} ...${shared} />` : html`<${Jobs} ...${shared} />`;
  if (parts[0] === "schedules") return html`<${Schedules} ...${shared} />`;
  if (parts[0] === "callbacks") return html`<${Callbacks} ...${shared} />`;
  if (parts[0] === "keys" && me.admin) return html`<${Keys} ...${shared} />`;
  if (parts[0] === "promises") return html`<${Promises} />`;
  return html`<${Title}>Nothing here<//><p><a href="#/">Overview</a></p>`;
}

function Header({ place, me, onLeft }) {
  const { connected, overview } = useLive();
  const bar = useRef(null);
  useEffect(() => {
    const here = bar.current.querySelector("[aria-current]");
    if (here) bar.current.scrollLeft = here.offsetLeft - bar.current.offsetLeft - 16; // on a phone the pages are one row that moves
  }, [place.parts[0]]);
  const leave = () => del("v1/session").finally(() => {
    disconnect();
    onLeft();
  });
  return html`<header>
    <a class="mark" href="#/"><img src="docs/mark.svg" alt="" width="22" height="22" /> offload</a>
    <nav aria-label="Pages" ref=${bar}><ul>${PAGES.filter(([, , scope]) => !scope || me.may(scope)).map(([path, name]) => html`<li>
      <a href=${`#/${path}`} aria-current=${(place.parts[0] || "") === path ? "page" : undefined}>${name}</a></li>`)}
      <li><a href="docs">Reference</a></li></ul></nav>
    <span class=${`live ${connected ? "on" : "off"}`} role="status">${connected ? "live" : overview ? "connection lost" : "connecting"}</span>
    ${me.locked ? html`<span class="who">${me.owner || "admin"} <button type="button" class="quiet" onClick=${leave}>Sign out</button></span>` : null}
  </header>`;
}

function SignIn({ onDone }) {
  const [run, busy, error] = useAction();
  const enter = (event) => {
    event.preventDefault();
    const key = String(new FormData(event.target).get("key")).trim();
    run(async () => {
      await call("POST", "v1/session", { headers: { authorization: `Bearer ${key}` } });
      onDone();
    });
  };
  return html`<main class="alone"><${Title}>Sign in<//>
    <form onSubmit=${enter}>
      <label for="key">A key of this server</label>
      <input id="key" name="key" type="password" autocomplete="current-password" required autofocus placeholder="ofl_…" />
      <${Trouble} error=${error} />
      <p class="buttons"><button type="submit" class="primary" disabled=${busy}>Sign in</button></p>
    </form>
    <p class="dim">The key is not kept in this page: a cookie that scripts cannot read stands for it, for twelve hours.</p>
    <p class="dim">Keys are made with <code>offload keys create</code>.</p></main>`;
}

function placeNow() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query || "") };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function go(where) {
  location.hash = where;
}

render(html`<${App} />`, document.getElementById("app"));
