// Speaks with the server that this page came from: JSON in, JSON out, and problems as errors.
export const BASE = new URL(".", location.href).pathname;

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `the server answered ${status}`);
    this.status = status;
    this.code = body.code || "";
    this.errors = body.errors || [];
  }
}

/** Tells the page that a key is needed, or needed again. */
export const locked = new EventTarget();

export async function call(method, path, { body, headers = {}, signal } = {}) {
  const init = { method, headers: { accept: "application/json", ...headers }, signal, credentials: "same-origin" };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers["content-type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(url(path), init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "the server cannot be reached; is it running?" });
  }
  const text = await answer.text();
  const read = isJson(answer) && text ? JSON.parse(text) : {};
  if (!answer.ok) {
    if (answer.status === 401) locked.dispatchEvent(new Event("locked"));
    throw new Problem(answer.status, read);
  }
  return read;
}

export const get = (path, more) => call("GET", path, more);
export const post = (path, body, more) => call("POST", path, { ...more, body });
export const put = (path, body) => call("PUT", path, { body });
export const del = (path) => call("DELETE", path);

/** Returns an address below ours; what the server says of itself begins with the path it is at already. */
export function url(path) {
  return path.startsWith("/") ? path : BASE + path;
}

export async function text(path, bytesMax) {
  const answer = await fetch(url(path), { credentials: "same-origin", headers: bytesMax ? { range: `bytes=0-${bytesMax - 1}` } : {} });
  if (!answer.ok) throw new Problem(answer.status, isJson(answer) ? await answer.json() : {});
  return answer.text();
}

/** Has a picture made that the browser then shows from its cache; returns how many pages there are. */
export async function drawn(path, signal) {
  const answer = await fetch(url(path), { credentials: "same-origin", signal });
  if (!answer.ok) throw new Problem(answer.status, isJson(answer) ? await answer.json() : {});
  await answer.arrayBuffer();
  return Number(answer.headers.get("offload-pages"));
}

/** Sends a form with files and tells how far it is; fetch cannot. */
export function upload(path, form, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url(path));
    request.responseType = "text";
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Problem(0, { detail: "the upload broke off; is the server running?" }));
    request.onload = () => {
      let read = {};
      try {
        read = JSON.parse(request.responseText);
      } catch {
        // not JSON: the status says enough
      }
      if (request.status < 400) return resolve(read);
      if (request.status === 401) locked.dispatchEvent(new Event("locked"));
      reject(new Problem(request.status, read));
    };
    request.send(form);
  });
}

function isJson(answer) {
  return /json/.test(answer.headers.get("content-type") || "");
}
