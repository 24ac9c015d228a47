-- Who is told when a job is finished, and which job a message tells of.
ALTER TABLE jobs ADD COLUMN webhook_url TEXT;
ALTER TABLE outbox ADD COLUMN job_id TEXT;

CREATE UNIQUE INDEX outbox_job ON outbox (job_id) WHERE job_id IS NOT NULL;
