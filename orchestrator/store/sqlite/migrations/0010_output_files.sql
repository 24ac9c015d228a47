-- Which jobs made which files, until the files are deleted: the same pixels are one file, however many made
-- them. `finished_at` is the job's.
CREATE TABLE output_files (
    key TEXT NOT NULL,
    job_id TEXT NOT NULL REFERENCES jobs (id),
    finished_at TEXT,
    PRIMARY KEY (key, job_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX output_files_job ON output_files (job_id);
CREATE INDEX output_files_finished ON output_files (finished_at) WHERE finished_at IS NOT NULL;

INSERT INTO output_files (key, job_id, finished_at)
SELECT DISTINCT output.value ->> 'key', shards.job_id, jobs.finished_at
FROM shards JOIN jobs ON jobs.id = shards.job_id, json_each(shards.outputs) AS output;

CREATE TRIGGER shards_have_files AFTER UPDATE OF outputs ON shards WHEN new.outputs <> old.outputs
BEGIN
    INSERT OR IGNORE INTO output_files (key, job_id) SELECT value ->> 'key', new.job_id FROM json_each(new.outputs);
END;

CREATE TRIGGER jobs_let_files_go AFTER UPDATE OF finished_at ON jobs WHEN new.finished_at IS NOT old.finished_at
BEGIN
    UPDATE output_files SET finished_at = new.finished_at WHERE job_id = new.id;
END;
