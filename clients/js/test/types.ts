/** What TypeScript must take, and what it must refuse; compiled by tests/clients/test_js_types.py, never run. */

import { Offload, OffloadError, offloadFetch } from "offload-client";
import type { Problem, Status, StoredFile, Task, TaskEvent, TaskState } from "offload-client";
import { offloadFetch as alone } from "offload-client/client.js";
import { offloadFetch as served } from "../client.js";

declare const file: File;
declare const request: Request;
declare const signal: AbortSignal;
declare const source: AsyncIterable<Uint8Array>;

// a drop-in: what is given to fetch can be given to it, and it can be given where fetch is wanted
const dropIn: (input: string | URL | Request, init?: RequestInit) => Promise<Response> = offloadFetch;
const same: typeof alone = served;

export async function calls(form: FormData): Promise<Response[]> {
  return [
    await offloadFetch("/v1/jobs/resize"),
    await offloadFetch(new URL("http://localhost/v1/jobs/resize"), { method: "PUT", body: form, headers: [["X-Mine", "1"]], signal }),
    await offloadFetch(request, { credentials: "include", redirect: "error", keepalive: true }),
    await offloadFetch("/", { body: source }),
    await offloadFetch("/", { body: () => file.stream(), retries: 3, stream: false, fetch: (asked) => fetch(asked) }),
    await offloadFetch("/", {
      onTask: ({ id, url, job }) => `${id.length} ${url.length} ${job?.length}`,
      onProgress: ({ status, progress, position, eta_seconds }) => {
        const known: Status = status;
        return [known, progress?.message.length, progress?.fraction?.toFixed(), position?.toFixed(), eta_seconds?.toFixed()];
      },
      onUpload: (sentBytes, totalBytes) => sentBytes / (totalBytes ?? sentBytes),
      onEvent: (event) => {
        if (event.event === "progress") return event.data.message.length;
        if (event.event === "log") return event.data.length;
        return event.id;
      },
    }),
  ];
}

interface Shape {
  width: number;
  image: Blob;
}

export async function client(shape: Shape): Promise<unknown> {
  const offload = new Offload("https://localhost", { key: "ofl_x", headers: { "X-Mine": "1" }, retries: 2 });
  const task: Task = await offload.submit("resize", shape, { priority: 5, runAt: new Date(), tags: { of: "types" }, signal });
  for await (const event of offload.events(task.id, { after: 3, signal })) {
    const each: TaskEvent = event;
    const status: Status | undefined = each.event === "status" ? each.data.status : undefined;
    if (status === "DONE") break;
  }
  for await (const found of offload.list({ status: "FAILED", createdAfter: "2026-01-01T00:00:00Z" })) await offload.retry(found.id);
  const stored: StoredFile = await offload.uploadFile(file, { name: "x", onUpload: () => {} });
  const whole: TaskState = await offload.wait(task.id, { onProgress: () => {} });
  const result: Response = await offload.result(task.id);
  const logs: string = await offload.logs(task.id);
  const nothing: void = await offload.delete(task.id);
  return [await offload.call("raw", file, { query: { width: "3" } }), await offload.cancel(task.id), stored.sha256, whole, result, logs, nothing];
}

export function told(error: unknown): Problem | undefined {
  if (!(error instanceof OffloadError)) return undefined;
  const code: string | undefined = error.code;
  return code && error.status > 400 ? error.problem : undefined;
}

export function refused(offload: Offload): unknown[] {
  return [
    // @ts-expect-error
    offloadFetch(),
    // @ts-expect-error
    offloadFetch("/", { retries: "many" }),
    // @ts-expect-error
    offloadFetch("/", { onProgress: ({ percent }) => percent }),
    // @ts-expect-error
    offloadFetch("/", { body: 7 }),
    // @ts-expect-error
    offload.submit("resize", {}, { priority: "high" }),
    // @ts-expect-error
    offload.list({ status: "RUNS" }),
    // @ts-expect-error
    offload.nosuch(),
    dropIn, same,
  ];
}
