-- The published models of all processes: the files of the directory of which each process keeps a copy.
-- The one row of `published_models` is locked while they are changed.
CREATE TABLE published_models (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    -- Tells copies of this database's files from those of another database.
    id TEXT COLLATE "C" NOT NULL DEFAULT gen_random_uuid()::text,
    -- Counts changes.
    revision BIGINT NOT NULL DEFAULT 0 CHECK (revision >= 0)
);

INSERT INTO published_models DEFAULT VALUES;

CREATE TABLE published_files (
    -- Relative to the directory, with `/`.
    path TEXT COLLATE "C" PRIMARY KEY,
    sha256 TEXT COLLATE "C" NOT NULL,
    content BYTEA NOT NULL
);
