-- Callbacks: what a client asked for, the deliveries to send, whose turn it is, and what signs them.

ALTER TABLE tasks ADD COLUMN callback TEXT;        -- JSON

CREATE TABLE deliveries (
    key         INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they were made; never given twice
    id          TEXT    NOT NULL UNIQUE,
    task        INTEGER NOT NULL,                  -- tasks.key
    owner       TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    url         TEXT    NOT NULL,
    body        TEXT    NOT NULL,
    told        TEXT    NOT NULL,                  -- JSON
    host        TEXT    NOT NULL,
    created_at  REAL    NOT NULL,
    due_at      REAL    NOT NULL,
    state       TEXT    NOT NULL,
    tries       INTEGER NOT NULL,
    step        INTEGER NOT NULL,
    lease_until REAL,
    last        TEXT                               -- JSON
) STRICT;

-- claim: what waits for one host, however much waits for others
CREATE INDEX deliveries_line ON deliveries (host, due_at, key) WHERE state = 'PENDING' AND lease_until IS NULL;
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE lease_until IS NOT NULL;
-- find, purge
CREATE INDEX deliveries_of_task ON deliveries (task, key);
CREATE INDEX deliveries_by_state ON deliveries (state, key);
CREATE INDEX deliveries_by_owner ON deliveries (owner, key) WHERE owner <> '';

-- Where deliveries go, with a place in line: hosts take turns, however much waits for each.
CREATE TABLE callback_hosts (
    host     TEXT    PRIMARY KEY,
    standing INTEGER NOT NULL,                     -- 0 works, 1 new, 2 failing
    failures INTEGER NOT NULL,                     -- in a row
    due_at   REAL,                                 -- nothing of it is due before; NULL: nothing waits
    used_at  REAL    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX callback_hosts_line ON callback_hosts (standing, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX callback_hosts_failing ON callback_hosts (standing) WHERE standing = 2;
CREATE INDEX callback_hosts_idle ON callback_hosts (used_at) WHERE due_at IS NULL;

CREATE TABLE callback_secrets (
    owner      TEXT NOT NULL,
    text       TEXT NOT NULL,
    created_at REAL NOT NULL,
    until      REAL,                               -- NULL for the newest
    PRIMARY KEY (owner, text)
) STRICT, WITHOUT ROWID;
