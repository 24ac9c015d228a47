CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    watched TEXT NOT NULL CHECK (watched IN ('balance', 'day', 'month')),
    threshold INTEGER NOT NULL CHECK (threshold >= 0),
    url TEXT,
    created_at TEXT NOT NULL,
    fired TEXT
) STRICT;

CREATE INDEX alerts_account ON alerts (account_id);
CREATE INDEX usage_days_account ON usage_days (account_id, day);

-- Words for the outside, written in the transaction that gives rise to them. Due: not yet delivered.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    topic TEXT NOT NULL,
    payload TEXT NOT NULL CHECK (json_valid(payload)),
    url TEXT,
    created_at TEXT NOT NULL,
    due_at TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    delivered_at TEXT,
    error TEXT
) STRICT;

CREATE INDEX outbox_due ON outbox (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX outbox_account ON outbox (account_id, id);
