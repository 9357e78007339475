/** A small client of one server: its jobs, tasks, events and files. */

import { OffloadError, OffloadInit, Status, Task, TaskEvent, TaskState, Waiting } from "../client.js";

export * from "../client.js";

export interface OffloadOptions extends Pick<Waiting, "retries" | "stream" | "fetch"> {
  /** Sent as `Authorization: Bearer …`. */
  key?: string;
  headers?: Record<string, string>;
  credentials?: RequestCredentials;
}

export interface Asking {
  signal?: AbortSignal;
}

/** How a task is to be run, and how to wait for it. */
export interface SubmitOptions extends Asking, Pick<OffloadInit, "onTask" | "onUpload">, Waiting {
  /** -100 to 100; higher runs first. */
  priority?: number;
  /** Seconds: do not start before. */
  delay?: number;
  runAt?: Date | string;
  /** Seconds: when it has not started by then it FAILS with reason `deadline`. */
  deadline?: number;
  /** For finding it again; ASCII without commas. */
  tags?: Record<string, string>;
  /** The same key makes the same task; one is made for each submission when this is left out. */
  idempotencyKey?: string;
  /** The other parameters when the input is one raw file. */
  query?: Record<string, string>;
}

/** Parameters by name, files (Blob, File, lists of them) among them; or a FormData; or one raw file as a Blob, buffer or stream. */
export type Input = object;

export interface Filter extends Asking {
  job?: string;
  queue?: string;
  status?: Status;
  tags?: Record<string, string>;
  createdAfter?: Date | string;
  createdBefore?: Date | string;
  /** How many to ask for at a time. */
  limit?: number;
}

export interface StoredFile {
  /** Name it as `file:{id}` in an input. */
  id: string;
  size: number;
  type: string;
  sha256: string;
}

/** One server. What it refuses is thrown as OffloadError; every method takes `{signal}`. */
export class Offload {
  /** In a browser the page's own server is the default. */
  constructor(baseUrl?: string | URL, options?: OffloadOptions);
  /** Hand a task in, durable when this resolves, and do not wait. */
  submit(job: string, input?: Input, options?: SubmitOptions): Promise<Task>;
  /** Run a job and resolve to its result; aborting cancels the task. */
  call(job: string, input?: Input, options?: SubmitOptions): Promise<Response>;
  /** The whole task as it is. */
  get(id: string, options?: Asking): Promise<Task>;
  /** Wait until it has ended, however it did; aborting ends the wait only. */
  wait(id: string, options?: Asking & Waiting): Promise<Task>;
  /** Wait for the result; throws OffloadError (TaskFailed, TaskIsCanceled, …) when there is none. */
  result(id: string, options?: Asking & Waiting): Promise<Response>;
  cancel(id: string, options?: Asking): Promise<Task>;
  /** One more attempt after it FAILED or was CANCELED. */
  retry(id: string, options?: Asking): Promise<Task>;
  /** Drop its input, result, logs and files. */
  delete(id: string, options?: Asking): Promise<void>;
  /** What its attempts printed and logged. */
  logs(id: string, options?: Asking): Promise<string>;
  /** Everything that happened and happens until it has ended, resumed where a connection breaks. */
  events(id: string, options?: Asking & { after?: number }): AsyncGenerator<TaskEvent, void, void>;
  /** Newest first, page after page. */
  list(filter?: Filter): AsyncGenerator<Task, void, void>;
  uploadFile(file: Blob | ArrayBuffer | ReadableStream<Uint8Array>, options?: Asking & Pick<OffloadInit, "onUpload"> & { name?: string }): Promise<StoredFile>;
}
