-- What each queue saw in each ten seconds, for charts; an hour of it is kept.
CREATE TABLE history (
    at       float8 NOT NULL,
    node     text   NOT NULL COLLATE "C",
    queue    text   NOT NULL COLLATE "C",
    arrivals bigint NOT NULL,
    done     bigint NOT NULL,
    failed   bigint NOT NULL,
    queued   bigint NOT NULL,
    running  bigint NOT NULL,
    PRIMARY KEY (at, node, queue)
);
