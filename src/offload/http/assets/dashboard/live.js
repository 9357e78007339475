// One event stream for the whole page: the newest overview and the last hour, for whoever shows them.
import { useEffect, useState } from "./preact.js";
import { get, url } from "./api.js";

const watchers = new Set();
const callbackWatchers = new Set();
let source = null;
let retry = null;
export const now = { overview: null, history: null, connected: false };

function tell() {
  for (const watcher of watchers) watcher({ ...now });
}

export function connect() {
  disconnect();
  source = new EventSource(url("v1/overview/events"));
  source.onopen = () => {
    now.connected = true;
    tell();
    tellOfCallbacks(null); // while nobody listened anything may have moved
  };
  source.addEventListener("overview", (event) => {
    now.overview = JSON.parse(event.data);
    tell();
  });
  source.addEventListener("history", (event) => {
    now.history = JSON.parse(event.data);
    tell();
  });
  source.addEventListener("callbacks", (event) => tellOfCallbacks(JSON.parse(event.data).tasks));
  source.onerror = () => {
    now.connected = false;
    tell();
    // a refused stream is never tried again by the browser; asking tells why it was refused
    if (source.readyState === EventSource.CLOSED) {
      get("v1/session").catch(() => {});
      retry = setTimeout(connect, 3000);
    }
  };
}

export function disconnect() {
  clearTimeout(retry);
  if (source) source.close();
  source = null;
  now.connected = false;
}

function tellOfCallbacks(tasks) {
  for (const watcher of callbackWatchers) watcher(tasks);
}

/** Returns a number that grows when callbacks of this task, or of any, may look otherwise than before; after `calmMs`. */
export function useCallbackTurn(task, calmMs) {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let timer = null;
    const look = () => {
      timer = null;
      setTurn((before) => before + 1);
    };
    const hear = (tasks) => {
      if (task && tasks && !tasks.includes(task)) return;
      timer = timer || setTimeout(look, calmMs);
    };
    callbackWatchers.add(hear);
    return () => {
      clearTimeout(timer);
      callbackWatchers.delete(hear);
    };
  }, [task]);
  return turn;
}

/** Returns what is known now; the component is drawn again whenever that changes. */
export function useLive() {
  const [known, setKnown] = useState({ ...now });
  useEffect(() => {
    watchers.add(setKnown);
    setKnown({ ...now });
    return () => watchers.delete(setKnown);
  }, []);
  return known;
}
