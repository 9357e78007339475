-- Marks: the number of each connection's last transaction that wrote. It is there if, and only if, that transaction is,
-- which is how a commit that was not answered is told from one that never was. The server's own numbers will not do:
-- one that crashes gives those of which nothing had reached its disk to the transactions that come next.

CREATE TABLE marks (
    link   text        PRIMARY KEY,                 -- made up by who connects
    number bigint      NOT NULL,
    at     timestamptz NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
