/** fetch for slow services: hands a request in, waits for its task, resolves to the result. */

export type Status = "CREATED" | "QUEUED" | "RUNNING" | "DONE" | "FAILED" | "CANCELED" | "DELETED";

export interface Progress {
  /** 0 to 1, or null when the job did not say. */
  fraction: number | null;
  message: string;
}

/** What changes about a task. */
export interface TaskState {
  id: string;
  status: Status;
  reason: string | null;
  progress: Progress | null;
  /** How many tasks run before it; left out when that is not known. */
  position?: number;
  /** Until its end; left out when there is no honest estimate. */
  eta_seconds?: number;
}

/** One requested run of a job. */
export interface Task extends TaskState {
  job: string;
  queue: string;
  attempt: number;
  max_attempts: number;
  priority: number;
  created_at: string;
  queued_at: string | null;
  run_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  deadline_at: string | null;
  expires_at: string | null;
  input: unknown;
  /** A JSON result up to 64 KiB; larger ones and files are read at `links.result`. */
  result: unknown;
  result_type: string | null;
  result_size: number | null;
  error: { type: string; message: string; traceback?: string } | null;
  tags: Record<string, string>;
  links: { self: string; status: string; result: string; events: string; logs: string; cancel: string };
}

/** Something that happened to a task; `id` counts up from 1 without gaps. */
export type TaskEvent =
  | { id: number; event: "status"; data: { status: Status; reason?: string | null; at: string; [more: string]: unknown } }
  | { id: number; event: "progress"; data: Progress & { at: string } }
  | { id: number; event: "log"; data: string }
  | { id: number; event: "output"; data: unknown };

/** application/problem+json (RFC 9457) as offload writes it. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  /** What programs go by. */
  code?: string;
  errors?: { loc: (string | number)[]; message: string }[];
  [more: string]: unknown;
}

export interface Waiting {
  /** Hears of every change of status and progress. */
  onProgress?: (state: TaskState) => void;
  /** Hears of every event; only where the server offers its event stream. */
  onEvent?: (event: TaskEvent) => void;
  /** Whether to read the event stream; by default when there is onProgress or onEvent. It polls where it cannot. */
  stream?: boolean;
  /** How often in a row a request that could not be taken is sent again; 8 by default. */
  retries?: number;
  /** Used in place of the global fetch. */
  fetch?: (request: Request) => Promise<Response>;
}

export interface OffloadInit extends Omit<RequestInit, "body">, Waiting {
  /** A stream is sent once only; a function is called for the body of every try. */
  body?: BodyInit | null | AsyncIterable<Uint8Array> | (() => BodyInit | AsyncIterable<Uint8Array>);
  /** Hears of the task as soon as there is one; `url` is its address. */
  onTask?: (task: Partial<Task> & { id: string; url: string }) => void;
  /** Hears how many bytes of the body were sent; browsers only. */
  onUpload?: (sentBytes: number, totalBytes: number | undefined) => void;
}

/**
 * A drop-in for fetch; resolves to the exact result of the task that the server made of the request.
 *
 * Connection errors and answers 429, 502, 503, 504 and 507 are tried again under one Idempotency-Key, with full jitter,
 * never sooner than Retry-After. Like fetch it never rejects for an HTTP error: a task that failed resolves to its
 * problem. What is no task (an answer at once, a page, a refusal) comes through as it is. Aborting `signal` cancels
 * the task too.
 */
export function offloadFetch(input: string | URL | Request, init?: OffloadInit): Promise<Response>;

/** What a server refused, or how a task ended that has no result. */
export class OffloadError extends Error {
  readonly name: "OffloadError";
  readonly status: number;
  readonly code: string | undefined;
  readonly problem: Problem;
}
