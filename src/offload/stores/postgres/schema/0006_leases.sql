-- Leases: what signs them and the links of browsers, and the line of one owner's tasks.

CREATE TABLE secrets (
    name   text PRIMARY KEY,
    secret bytea NOT NULL
);

-- claim for one owner; without keys every owner is '' and the index is empty
CREATE INDEX tasks_line_owned ON tasks (owner, queue, job, rank, key)
 WHERE owner <> '' AND status = 'QUEUED' AND ready;
