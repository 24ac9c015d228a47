-- Each try to deliver a message, and what came of it.
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id INTEGER NOT NULL REFERENCES outbox (id),
    at TEXT NOT NULL,
    seconds REAL NOT NULL CHECK (seconds >= 0),
    http_status INTEGER,
    error TEXT
) STRICT;

CREATE INDEX deliveries_message ON deliveries (message_id, id);
