-- `seq` is the order of arrival; JSON columns hold what is never searched.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    params TEXT NOT NULL CHECK (json_valid(params)),
    price INTEGER NOT NULL CHECK (price >= 0),
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT CHECK ((finished_at IS NULL) = (status IN ('queued', 'running'))),
    error_code TEXT,
    error_message TEXT,
    idempotency_key TEXT,
    request_digest TEXT,
    UNIQUE (account_id, idempotency_key)
) STRICT;

CREATE INDEX jobs_account ON jobs (account_id, seq);
CREATE INDEX jobs_unfinished ON jobs (seq) WHERE finished_at IS NULL;

CREATE TABLE shards (
    id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (id),
    position INTEGER NOT NULL,
    params TEXT NOT NULL CHECK (json_valid(params)),
    status TEXT NOT NULL CHECK (status IN ('waiting', 'running', 'succeeded', 'failed', 'cancelled')),
    outputs TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(outputs)),
    gpu_seconds REAL NOT NULL DEFAULT 0,
    simulated INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    UNIQUE (job_id, position),
    CHECK ((status = 'succeeded') = (outputs <> '[]'))
) STRICT;

CREATE TABLE attempts (
    prompt_id TEXT PRIMARY KEY,
    shard_id TEXT NOT NULL REFERENCES shards (id),
    number INTEGER NOT NULL CHECK (number > 0),
    instance_id TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    outcome TEXT CHECK ((outcome IS NULL) = (ended_at IS NULL)),
    detail TEXT,
    UNIQUE (shard_id, number)
) STRICT;

CREATE INDEX attempts_open ON attempts (started_at) WHERE ended_at IS NULL;
