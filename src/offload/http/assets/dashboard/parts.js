// Small pieces that every page uses.
import { html, useEffect, useRef, useState } from "./preact.js";

export function Badge({ status, reason }) {
  return html`<span class=${`badge ${status.toLowerCase()}`}>${status}${reason && reason !== "canceled" ? html` <small>${reason}</small>` : null}</span>`;
}

/** Tags, each a way to all tasks that have it. */
export function Tags({ tags }) {
  const pairs = Object.entries(tags).map((pair) => pair.join("="));
  if (!pairs.length) return null;
  return html`<span class="tags">${pairs.map((pair) => html`<a class="tag" href=${`#/tasks?tag=${encodeURIComponent(pair)}`}>${pair}</a>`)}</span>`;
}

export function Trouble({ error }) {
  if (!error) return null;
  const lines = (error.errors || []).map((each) => `${(each.loc || []).join(".")}: ${each.message}`);
  return html`<div class="trouble" role="alert">
    <strong>${error.message}</strong>
    ${lines.length ? html`<ul>${lines.map((line) => html`<li>${line}</li>`)}</ul>` : null}
  </div>`;
}

export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

export function Fact({ name, children, hint }) {
  return html`<div class="fact" title=${hint || ""}><dt>${name}</dt><dd>${children}</dd></div>`;
}

export function Progress({ value, label }) {
  const known = value !== null && value !== undefined;
  return html`<div class="progress">
    <progress max="1" value=${known ? value : undefined} aria-label=${label || "progress"}></progress>
    <span>${known ? `${Math.round(value * 100)} %` : ""}</span>
  </div>`;
}

export function Copy({ text, name = "Copy" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button type="button" class="quiet" onClick=${copy}>${done ? "Copied" : name}</button>`;
}

/** Asks before something is done that cannot be undone; the browser keeps the focus inside and Escape closes it. */
export function Confirm({ title, children, action, onYes, onNo, danger = true }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current.showModal(), []);
  return html`<dialog ref=${dialog} aria-labelledby="confirm-title" onClose=${onNo}>
    <h2 id="confirm-title">${title}</h2>
    <div>${children}</div>
    <p class="buttons">
      <button type="button" onClick=${() => dialog.current.close()}>No, go back</button>
      <button type="button" class=${danger ? "danger" : "primary"} onClick=${onYes}>${action}</button>
    </p>
  </dialog>`;
}

/** Runs what may fail; returns [run, busy, error]. */
export function useAction() {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const run = async (action) => {
    setBusy(true);
    setError(null);
    try {
      return await action();
    } catch (problem) {
      setError(problem);
      return undefined;
    } finally {
      setBusy(false);
    }
  };
  return [run, busy, error];
}

/** Loads now, and again whenever one of `when` changes; the newest answer wins. */
export function useLoaded(load, when) {
  const [found, setFound] = useState({ value: null, error: null });
  const turn = useRef(0);
  const again = async () => {
    const mine = ++turn.current;
    try {
      const value = await load();
      if (mine === turn.current) setFound({ value, error: null });
    } catch (error) {
      if (mine === turn.current) setFound((before) => ({ value: before.value, error }));
    }
  };
  useEffect(() => {
    again();
    return () => {
      turn.current += 1;
    };
  }, when);
  return [found.value, found.error, again];
}

export function Title({ children }) {
  const text = Array.isArray(children) ? children.join("") : String(children);
  useEffect(() => {
    document.title = `${text} · offload`;
  }, [text]);
  return html`<h1>${children}</h1>`;
}
