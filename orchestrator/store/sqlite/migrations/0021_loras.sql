-- LoRAs: the files of succeeded training jobs, with what requests have to know to use them. A row ends with its
-- job's removal or with its own lifetime, which is longer than that of other results.
CREATE TABLE loras (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id),
    account_id TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    base TEXT NOT NULL,
    trigger_word TEXT NOT NULL,
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX loras_of_account ON loras (account_id, created_at);
CREATE INDEX loras_by_age ON loras (created_at);
CREATE INDEX loras_by_key ON loras (key);
