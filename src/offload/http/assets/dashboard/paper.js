// A PDF file page by page, as pictures that the server drew: a browser's own viewer would run what the file brings.
import { html, useEffect, useRef, useState } from "./preact.js";
import { drawn } from "./api.js";

let line = Promise.resolve();

/** One after the other: a task with many files asks no more of the server than one with a single one. */
function inLine(ask) {
  const asked = line.then(ask);
  line = asked.catch(() => {});
  return asked;
}

export function Paper({ file }) {
  const [page, setPage] = useState(1);
  const [turn, setTurn] = useState(0);
  const [found, setFound] = useState(null);
  const place = (number) => `${file.url}/preview?page=${number}`;
  useEffect(() => {
    const leaving = new AbortController();
    inLine(() => (leaving.signal.aborted ? null : drawn(place(page), leaving.signal))).then(
      (pages) => pages && setFound({ page, pages }),
      (problem) => problem.name !== "AbortError" && setFound((before) => ({ ...before, problem, wanted: page })),
    );
    return () => leaving.abort();
  }, [file.url, page, turn]);
  const typed = useRef(null);
  // set when the page turns, and not at each of the many renders: they must not take away what somebody is typing
  useEffect(() => {
    if (typed.current) typed.current.value = page;
  }, [page, found && found.pages]);
  const go = (number) => {
    const wanted = Math.min(Math.max(1, number || 1), found.pages);
    if (typed.current) typed.current.value = wanted;
    setPage(wanted);
  };
  if (!found) return html`<p class="paper" role="status">Drawing…</p>`;
  const refused = found.problem && found.wanted === page;
  return html`<div class="paper">
    ${refused ? html`<p class="dim" role="status">${found.problem.message}
        ${found.problem.status === 503 || found.problem.status === 0 ? html` <button type="button" class="quiet" onClick=${() => setTurn(turn + 1)}>Try again</button>` : null}</p>`
      : html`<img src=${place(found.page)} alt=${`Page ${found.page} of ${file.name}`} aria-busy=${found.page !== page} />`}
    ${found.pages > 1 ? html`<p class="buttons">
      <button type="button" disabled=${page <= 1} onClick=${() => go(page - 1)}>Previous page</button>
      <label>Page <input type="number" min="1" max=${found.pages} ref=${typed} onChange=${(event) => go(Number(event.target.value))} /> of ${found.pages}</label>
      <button type="button" disabled=${page >= found.pages} onClick=${() => go(page + 1)}>Next page</button></p>` : null}
  </div>`;
}
