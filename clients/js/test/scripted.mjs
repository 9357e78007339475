/** A real HTTP server that answers as a test tells it to, and keeps what it was asked. */

import { createServer } from "node:http";

export const ID = "8c0f3e9a-0b57-4c1e-9d3f-2f6a1f0f7d11";
export const TASK = `/v1/tasks/${ID}`;

/**
 * Serve with `answer(request, response, asked)` until the test ends. `asked` holds whole requests, `begun` counts all
 * whose header came, `broken` those that ended there.
 */
export async function scripted(test, answer) {
  const asked = [];
  const told = { asked, begun: 0, broken: 0 };
  const server = createServer(async (request, response) => {
    const chunks = [];
    told.begun++;
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      told.broken++; // the client has gone
      return;
    }
    const { method, url, headers } = request;
    asked.push({ method, url, headers, body: Buffer.concat(chunks).toString(), at: performance.now() });
    answer(request, response, asked);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return Object.assign(told, { url: `http://127.0.0.1:${server.address().port}` });
}

export function json(response, status, value, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(JSON.stringify(value));
}

export function accepted(response, headers = {}) {
  json(response, 202, { id: ID, status: "QUEUED", reason: null }, { Location: TASK, "Retry-After": "1", ...headers });
}

export function result(response, value = "the result") {
  json(response, 200, value, { "Offload-Task-Status": "DONE" });
}

/** Wait until something is so. */
export async function until(isSo, what) {
  for (const end = performance.now() + 20_000; !(await isSo()); ) {
    if (performance.now() > end) throw new Error(`it never came to this: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
