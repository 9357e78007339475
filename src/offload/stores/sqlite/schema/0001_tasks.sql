-- The first schema: tasks and what belongs to them, idempotency keys, queues, files of their own.

-- Small and hot: a state change rewrites a row here, never a payload.
CREATE TABLE tasks (
    key              INTEGER PRIMARY KEY,          -- given by the writer, always growing: order and locality
    id               ANY     NOT NULL UNIQUE,      -- the 16 bytes of a UUID; any other id as text
    owner            TEXT    NOT NULL,
    job              TEXT    NOT NULL,
    queue            TEXT    NOT NULL,
    status           TEXT    NOT NULL,
    max_attempts     INTEGER NOT NULL,
    priority         INTEGER NOT NULL,
    created_at       REAL    NOT NULL,
    queued_at        REAL,
    run_at           REAL,
    deadline_at      REAL,
    expires_at       REAL,
    version          INTEGER NOT NULL,
    event_count      INTEGER NOT NULL,
    input_bytes      INTEGER NOT NULL,
    tags             TEXT,                         -- JSON, NULL when there are none
    rank             REAL,                         -- place in line: lower runs first
    ready            INTEGER NOT NULL,             -- 1: QUEUED and due, as far as the last claim knew
    attempt          INTEGER NOT NULL DEFAULT 0,
    losses           INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    payload_dropped  INTEGER NOT NULL DEFAULT 0,
    reason           TEXT,
    started_at       REAL,
    finished_at      REAL,
    lease_until      REAL,
    node             TEXT,
    progress         TEXT                          -- JSON
) STRICT;

-- claim: the line of one job in one queue; a task with a later run_at is not in it, so a million of them cost nothing
CREATE INDEX tasks_line ON tasks (queue, job, rank, key) WHERE status = 'QUEUED' AND ready = 1;
-- claim, next_due: those that enter the line later
CREATE INDEX tasks_later ON tasks (run_at) WHERE status = 'QUEUED' AND ready = 0;
-- overdue
CREATE INDEX tasks_leased ON tasks (lease_until) WHERE status = 'RUNNING';
CREATE INDEX tasks_deadline ON tasks (deadline_at) WHERE status = 'QUEUED' AND deadline_at IS NOT NULL;
-- purge
CREATE INDEX tasks_expiring ON tasks (expires_at) WHERE payload_dropped = 0 AND expires_at IS NOT NULL;
CREATE INDEX tasks_ended ON tasks (finished_at) WHERE finished_at IS NOT NULL;
-- find: each in the order of the listing. Without access keys every owner is '' and needs no index.
CREATE INDEX tasks_by_status ON tasks (status, key);
CREATE INDEX tasks_by_job ON tasks (job, key);
CREATE INDEX tasks_by_queue ON tasks (queue, key);
CREATE INDEX tasks_by_owner ON tasks (owner, key) WHERE owner <> '';

-- Written once, read when the task runs or is shown.
CREATE TABLE payloads (
    key         INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    input       BLOB NOT NULL,
    files       TEXT                               -- JSON
) STRICT;

-- What the last attempt left behind.
CREATE TABLE outcomes (
    key         INTEGER PRIMARY KEY,
    result      BLOB,
    result_file TEXT,                              -- JSON
    error       TEXT                               -- JSON
) STRICT;

CREATE TABLE events (
    key     INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    at      REAL    NOT NULL,
    attempt INTEGER NOT NULL,
    data    BLOB    NOT NULL,
    PRIMARY KEY (key, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE tags (
    name  TEXT    NOT NULL,
    value TEXT    NOT NULL,
    key   INTEGER NOT NULL,
    PRIMARY KEY (name, value, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    owner       TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    task        INTEGER NOT NULL,
    created_at  REAL    NOT NULL,
    PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (created_at);

CREATE TABLE queues (
    queue  TEXT    PRIMARY KEY,
    paused INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE files (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    file       TEXT NOT NULL,                      -- JSON
    created_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX files_age ON files (created_at);
