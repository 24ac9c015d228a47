-- Failed attempts that count against the maximum, and deaths of instances while they ran the shard. Attempts
-- of an older version counted from their start.
ALTER TABLE shards ADD COLUMN tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0);
ALTER TABLE shards ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0 CHECK (deaths >= 0);

UPDATE shards SET tries = (
    SELECT count(*) FROM attempts
    WHERE shard_id = shards.id AND outcome NOT IN ('ok', 'instance_gone', 'abandoned')
) WHERE status IN ('waiting', 'running');

-- Shards that are not run again, kept for operators. NULL: the graph could not be rendered.
CREATE TABLE quarantined_shards (
    shard_id TEXT PRIMARY KEY REFERENCES shards (id),
    model_digest TEXT NOT NULL,
    graph TEXT CHECK (graph IS NULL OR json_valid(graph)),
    quarantined_at TEXT NOT NULL
) STRICT;

CREATE INDEX quarantined_shards_time ON quarantined_shards (quarantined_at);
