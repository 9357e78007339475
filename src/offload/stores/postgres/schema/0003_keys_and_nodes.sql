-- API keys, what their owners hold, and the nodes that share the store.

CREATE TABLE keys (
    id           text   PRIMARY KEY,
    made         bigint GENERATED ALWAYS AS IDENTITY,   -- their order
    key          text   NOT NULL,                  -- JSON: owner, scopes, quotas, and a hash of the key, never itself
    revoked_at   float8,
    last_used_at float8
) WITH (fillfactor = 70);

-- unfinished, depths: what an owner has waiting and running; without keys every owner is '' and the index is empty
CREATE INDEX tasks_owned ON tasks (owner, queue) WHERE owner <> '' AND status IN ('CREATED', 'QUEUED', 'RUNNING');
-- stored_bytes
CREATE INDEX tasks_kept ON tasks (owner, key) WHERE owner <> '' AND NOT payload_dropped;

CREATE TABLE nodes (
    name    text   PRIMARY KEY,
    state   text   NOT NULL,                       -- JSON
    seen_at float8 NOT NULL
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
