-- Callbacks: the deliveries to send, whose turn it is, and what signs them.

CREATE TABLE deliveries (
    key         bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,   -- the order in which they were made
    id          text    NOT NULL UNIQUE,
    task        bigint  NOT NULL,                  -- tasks.key
    task_id     text    NOT NULL,
    owner       text    NOT NULL,
    type        text    NOT NULL,
    url         text    NOT NULL,
    body        text    NOT NULL,
    told        text    NOT NULL,                  -- JSON
    host        text    NOT NULL,
    created_at  float8  NOT NULL,
    due_at      float8  NOT NULL,
    state       text    NOT NULL,
    tries       integer NOT NULL,
    step        integer NOT NULL,
    lease_until float8,
    last        text                               -- JSON
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- claim: what waits for one host, however much waits for others
CREATE INDEX deliveries_line ON deliveries (host, due_at, key) WHERE state = 'PENDING' AND lease_until IS NULL;
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE lease_until IS NOT NULL;
-- find, purge
CREATE INDEX deliveries_of_task ON deliveries (task, key);
CREATE INDEX deliveries_by_state ON deliveries (state, key);
CREATE INDEX deliveries_by_owner ON deliveries (owner, key) WHERE owner <> '';

-- Where deliveries go, with a place in line: hosts take turns, however much waits for each.
CREATE TABLE callback_hosts (
    host     text    PRIMARY KEY,
    standing integer NOT NULL,                     -- 0 works, 1 new, 2 failing
    failures integer NOT NULL,                     -- in a row
    due_at   float8,                               -- nothing of it is due before; NULL: nothing waits
    used_at  float8  NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX callback_hosts_line ON callback_hosts (standing, due_at) WHERE due_at IS NOT NULL;

CREATE TABLE callback_secrets (
    owner      text   NOT NULL,
    text       text   NOT NULL,
    created_at float8 NOT NULL,
    until      float8,                             -- NULL for the newest
    PRIMARY KEY (owner, text)
);
