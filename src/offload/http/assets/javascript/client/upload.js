/** Sending with word of how much was sent: fetch says nothing about that, XMLHttpRequest does. */

/** Send a request with `body` and resolve to its Response. */
export function upload(request, body, onUpload) {
  return new Promise((resolve, reject) => {
    const { signal } = request;
    const xhr = new XMLHttpRequest();
    const stop = () => xhr.abort();
    xhr.open(request.method, request.url);
    xhr.responseType = "blob";
    xhr.withCredentials = request.credentials === "include";
    for (const [name, value] of request.headers) {
      // the boundary of a form is chosen anew when it is sent
      if (name !== "content-type" || !(body instanceof FormData)) xhr.setRequestHeader(name, value);
    }
    xhr.upload.onprogress = (event) => onUpload(event.loaded, event.lengthComputable ? event.total : undefined);
    xhr.onload = () => resolve(responseOf(xhr));
    xhr.onerror = () => reject(new TypeError("Failed to fetch"));
    xhr.onabort = () => reject(signal.reason);
    xhr.onloadend = () => signal.removeEventListener("abort", stop);
    signal.addEventListener("abort", stop);
    if (signal.aborted) reject(signal.reason);
    else xhr.send(body);
  });
}

function responseOf(xhr) {
  const headers = new Headers();
  for (const line of xhr.getAllResponseHeaders().trim().split("\r\n")) {
    const [, name, value] = /^([^:]+): ?(.*)$/.exec(line) ?? [];
    if (name) headers.append(name, value);
  }
  const body = [204, 205, 304].includes(xhr.status) ? null : xhr.response;
  const response = new Response(body, { status: xhr.status, statusText: xhr.statusText, headers });
  return Object.defineProperty(response, "url", { value: xhr.responseURL });
}
