-- The first schema: tasks and what belongs to them, idempotency keys, queues, files of their own.

CREATE SEQUENCE task_keys;                          -- always growing: order and locality

-- What was asked. Written once; only dropping it, or fetching its files, writes it again.
CREATE TABLE requests (
    key         bigint PRIMARY KEY,
    id          text   NOT NULL UNIQUE,
    owner       text   NOT NULL,
    job         text   NOT NULL,
    queue       text   NOT NULL,
    created_at  float8 NOT NULL,
    fingerprint text   NOT NULL,
    input       bytea  NOT NULL,
    files       text,                               -- JSON
    tags        text                                -- JSON, NULL when there are none
) WITH (fillfactor = 95, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);
-- find: each in the order of the listing. They are here because rows here do not change: a change of a task's state
-- costs them nothing.
CREATE INDEX requests_by_job ON requests (job, key);
CREATE INDEX requests_by_queue ON requests (queue, key);
CREATE INDEX requests_by_owner ON requests (owner, key) WHERE owner <> '';

-- Small and hot: what changes with a task's state. Renewals and notes change no column that an index names, so with
-- the room that the fill factor leaves they stay on their page and cost no index anything.
CREATE TABLE tasks (
    key              bigint  PRIMARY KEY,
    owner            text    NOT NULL,
    job              text    NOT NULL,
    queue            text    NOT NULL,
    status           text    NOT NULL,
    ready            boolean NOT NULL,              -- QUEUED and due, as far as the last claim knew
    cancel_requested boolean NOT NULL DEFAULT false,
    payload_dropped  boolean NOT NULL DEFAULT false,
    priority         integer NOT NULL,
    attempt          integer NOT NULL DEFAULT 0,
    max_attempts     integer NOT NULL,
    losses           integer NOT NULL DEFAULT 0,
    version          integer NOT NULL,
    event_count      integer NOT NULL,
    input_bytes      bigint  NOT NULL,
    rank             float8,                        -- place in line: lower runs first
    queued_at        float8,
    run_at           float8,
    started_at       float8,
    finished_at      float8,
    deadline_at      float8,
    expires_at       float8,
    lease_until      float8,
    node             text,
    reason           text,
    progress         text,                          -- JSON
    callback         text,                          -- JSON
    upload_to        text
) WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- claim: the line of one job in one queue; a task with a later run_at is not in it, so a million of them cost nothing
CREATE INDEX tasks_line ON tasks (queue, job, rank, key) WHERE status = 'QUEUED' AND ready;
-- claim, next_due: those that enter the line later
CREATE INDEX tasks_later ON tasks (run_at) WHERE status = 'QUEUED' AND NOT ready;
-- overdue: all that run, which are few; lease_until itself is in no index, for every renewal changes it
CREATE INDEX tasks_running ON tasks (key) WHERE status = 'RUNNING';
CREATE INDEX tasks_deadline ON tasks (deadline_at) WHERE status = 'QUEUED' AND deadline_at IS NOT NULL;
-- purge
CREATE INDEX tasks_expiring ON tasks (expires_at) WHERE NOT payload_dropped AND expires_at IS NOT NULL;
CREATE INDEX tasks_ended ON tasks (finished_at) WHERE finished_at IS NOT NULL;
-- find
CREATE INDEX tasks_by_status ON tasks (status, key);

-- What the last attempt left behind.
CREATE TABLE outcomes (
    key         bigint PRIMARY KEY,
    result      bytea,
    result_file text,                               -- JSON
    file_bytes  bigint NOT NULL DEFAULT 0,          -- the size in `result_file`
    error       text                                -- JSON
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE events (
    key     bigint  NOT NULL,
    n       integer NOT NULL,
    kind    text    NOT NULL,
    at      float8  NOT NULL,
    attempt integer NOT NULL,
    data    bytea   NOT NULL,
    PRIMARY KEY (key, n)
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE tags (
    name  text   NOT NULL,
    value text   NOT NULL,
    key   bigint NOT NULL,
    PRIMARY KEY (name, value, key)
);

CREATE TABLE idempotency (
    owner       text   NOT NULL,
    name        text   NOT NULL,
    fingerprint text   NOT NULL,
    task        bigint NOT NULL,
    created_at  float8 NOT NULL,
    PRIMARY KEY (owner, name)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX idempotency_age ON idempotency (created_at);

-- What waits and runs, in parts that add up to it. Each connection that writes has a slot of its own, so no two
-- transactions ever wait for one counter; a part alone may be negative.
CREATE TABLE counts (
    slot    integer NOT NULL,
    queue   text    NOT NULL,
    job     text    NOT NULL,
    queued  bigint  NOT NULL,
    ready   bigint  NOT NULL,
    running bigint  NOT NULL,
    bytes   bigint  NOT NULL,
    PRIMARY KEY (slot, queue, job)
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);

CREATE TABLE queues (
    queue  text    PRIMARY KEY,
    paused boolean NOT NULL
);

CREATE TABLE files (
    id         text   PRIMARY KEY,
    owner      text   NOT NULL,
    file       text   NOT NULL,                     -- JSON
    size       bigint NOT NULL,
    created_at float8 NOT NULL
);
CREATE INDEX files_age ON files (created_at);
CREATE INDEX files_owned ON files (owner) WHERE owner <> '';
