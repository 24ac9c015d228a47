-- Which scheduler may change jobs. Each election counts `term` up; writes of earlier terms are refused.
CREATE TABLE scheduler_leader (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    term BIGINT NOT NULL CHECK (term >= 0),
    -- Where the API processes reach it, and which process it is.
    url TEXT COLLATE "C",
    holder TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- By the clock of the database: those of its clients may differ.
    renewed_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

INSERT INTO scheduler_leader (term) VALUES (0);

-- Requests counted against rate limits. Nothing is lost with them but the counts of a minute.
CREATE UNLOGGED TABLE request_counts (
    key TEXT COLLATE "C" PRIMARY KEY,
    count BIGINT NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX request_counts_expired ON request_counts (expires_at);
