-- What each queue saw in each ten seconds, for charts; an hour of it is kept.
CREATE TABLE history (
    at REAL NOT NULL,
    node TEXT NOT NULL,
    queue TEXT NOT NULL,
    arrivals INTEGER NOT NULL,
    done INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    running INTEGER NOT NULL,
    PRIMARY KEY (at, node, queue)
) STRICT, WITHOUT ROWID;
