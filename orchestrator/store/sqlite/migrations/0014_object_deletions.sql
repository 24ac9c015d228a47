-- Objects that have to be deleted, and those that were deleted lately: no job may refer to them.
CREATE TABLE object_deletions (
    key TEXT PRIMARY KEY,
    reason TEXT NOT NULL CHECK (reason IN ('removed', 'expired', 'unused', 'orphan')),
    requested_at TEXT NOT NULL,
    due_at TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    deleted_at TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX object_deletions_due ON object_deletions (due_at) WHERE deleted_at IS NULL;
CREATE INDEX object_deletions_done ON object_deletions (deleted_at) WHERE deleted_at IS NOT NULL;

-- Identifies this database to the bucket that it uses.
CREATE TABLE installation (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

INSERT INTO installation (id) VALUES (lower(hex(randomblob(16))));

-- From now on, `output_files` also has the input files of jobs. Earlier versions shared them between jobs by
-- their content. A removed job needs none; those of expired jobs are dropped at the next look for them.
INSERT OR IGNORE INTO output_files (key, job_id, finished_at)
SELECT DISTINCT param.value, shards.job_id, jobs.finished_at
FROM shards JOIN jobs ON jobs.id = shards.job_id, json_tree(shards.params) AS param
WHERE jobs.removed_at IS NULL AND param.type = 'text'
    AND param.value GLOB 'inputs/[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]*.*'
    AND instr(substr(param.value, 11), '/') = 0;
