-- Double entry by construction: a row moves an amount from one account to another.
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL
        CHECK (kind IN ('credit', 'debit', 'grant', 'expire', 'hold', 'capture', 'release', 'refund')),
    account_id TEXT NOT NULL REFERENCES accounts (id),
    source TEXT NOT NULL,
    target TEXT NOT NULL CHECK (target <> source),
    micros INTEGER NOT NULL CHECK (micros > 0),
    at TEXT NOT NULL,
    job_id TEXT REFERENCES jobs (id),
    reference TEXT
) STRICT;

CREATE INDEX entries_account ON entries (account_id, id);
CREATE INDEX entries_job ON entries (job_id) WHERE job_id IS NOT NULL;

CREATE TRIGGER entries_are_never_changed BEFORE UPDATE ON entries
BEGIN
    SELECT RAISE(ABORT, 'ledger entries are never changed');
END;

CREATE TRIGGER entries_are_never_removed BEFORE DELETE ON entries
BEGIN
    SELECT RAISE(ABORT, 'ledger entries are never removed');
END;

-- The sum of an account's entries, kept so that reading it costs the same however long the ledger grows.
CREATE TABLE balances (
    account TEXT PRIMARY KEY,
    micros INTEGER NOT NULL,
    CHECK (micros >= 0 OR account IN ('funding', 'promotions', 'revenue'))
) STRICT, WITHOUT ROWID;

CREATE TRIGGER entries_move_balances AFTER INSERT ON entries
BEGIN
    INSERT INTO balances (account, micros) VALUES (new.target, new.micros)
        ON CONFLICT (account) DO UPDATE SET micros = micros + excluded.micros;
    INSERT INTO balances (account, micros) VALUES (new.source, 0) ON CONFLICT (account) DO NOTHING;
    UPDATE balances SET micros = micros - new.micros WHERE account = new.source;
END;

-- Succeeded jobs by day, added up as they are captured, for the same reason.
CREATE TABLE usage_days (
    day TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    simulated INTEGER NOT NULL,
    jobs INTEGER NOT NULL,
    outputs INTEGER NOT NULL,
    micros INTEGER NOT NULL,
    gpu_seconds REAL NOT NULL,
    PRIMARY KEY (day, account_id, key_id, model, simulated)
) STRICT, WITHOUT ROWID;
