-- Leases: what signs them and the links of browsers, and the line of one owner's tasks.

CREATE TABLE secrets (
    name   TEXT PRIMARY KEY,
    secret BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- claim for one owner; without keys every owner is '' and the index is empty
CREATE INDEX tasks_line_owned ON tasks (owner, queue, job, rank, key, deadline_at)
 WHERE owner <> '' AND status = 'QUEUED' AND ready = 1;
