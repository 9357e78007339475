-- Schedules: what recurs, and how far it has come.

CREATE TABLE schedules (
    name     TEXT    NOT NULL,
    owner    TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    job      TEXT    NOT NULL,
    next_at  REAL,                                 -- NULL while it is paused
    version  INTEGER NOT NULL,
    schedule TEXT    NOT NULL,                     -- JSON: all of it
    PRIMARY KEY (name, owner)
) STRICT;

-- due, next_due
CREATE INDEX schedules_due ON schedules (next_at, name, owner, job) WHERE next_at IS NOT NULL;
-- find
CREATE INDEX schedules_owned ON schedules (owner, name);
