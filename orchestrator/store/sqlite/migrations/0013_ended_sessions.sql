-- Dashboard sessions that were ended before they expired, so that a copied cookie is worth nothing after a restart.
CREATE TABLE ended_sessions (
    id TEXT PRIMARY KEY,
    expires_at TEXT NOT NULL
) STRICT;
