-- API keys, and what their owners hold.

CREATE TABLE keys (
    id           TEXT PRIMARY KEY,
    made         INTEGER NOT NULL,                 -- their order
    key          TEXT    NOT NULL,                 -- JSON: owner, scopes, quotas, and a hash of the key, never itself
    revoked_at   REAL,
    last_used_at REAL
) STRICT, WITHOUT ROWID;

-- unfinished, depths: what an owner has waiting and running; without keys every owner is '' and the index is empty
CREATE INDEX tasks_owned ON tasks (owner, queue, status, ready, input_bytes)
 WHERE owner <> '' AND status IN ('CREATED', 'QUEUED', 'RUNNING');
-- stored_bytes
CREATE INDEX tasks_kept ON tasks (owner, key, input_bytes) WHERE owner <> '' AND payload_dropped = 0;
CREATE INDEX files_owned ON files (owner) WHERE owner <> '';
