-- What messages to an account's receivers are signed with. Ends: when a later one has taken over.
CREATE TABLE signing_secrets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    secret TEXT NOT NULL,
    ends_at TEXT
) STRICT;

CREATE INDEX signing_secrets_account ON signing_secrets (account_id, id);
