-- Schedules: what recurs, and how far it has come.
CREATE TABLE schedules (
    name     text   NOT NULL COLLATE "C",
    owner    text   NOT NULL COLLATE "C",
    id       text   NOT NULL,
    job      text   NOT NULL,
    next_at  float8,                               -- NULL while it is paused
    version  bigint NOT NULL,
    schedule text   NOT NULL,                      -- JSON: all of it
    PRIMARY KEY (name, owner)
) WITH (fillfactor = 70);

-- due, next_due
CREATE INDEX schedules_due ON schedules (next_at, name, owner) WHERE next_at IS NOT NULL;
-- find
CREATE INDEX schedules_owned ON schedules (owner, name);
