-- The caller removed a failed job.
UPDATE jobs SET removed_at = '2026-01-19T00:00:00.000000+00:00' WHERE id = 'job_broken';
