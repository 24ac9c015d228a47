-- Payments; a job that was charged and refunded in part, one that failed, one that runs, one that waits.
INSERT INTO entries (key, kind, account_id, source, target, micros, at, job_id, reference) VALUES
    ('credit:acct_ada:invoice 1', 'credit', 'acct_ada', 'funding', 'wallet:acct_ada', 5000000, '2026-01-11T08:00:00.000000+00:00', NULL, 'invoice 1'),
    ('debit:acct_ada:correction', 'debit', 'acct_ada', 'wallet:acct_ada', 'funding', 250000, '2026-01-11T08:01:00.000000+00:00', NULL, 'correction'),
    ('grant:acct_bob:welcome', 'grant', 'acct_bob', 'promotions', 'wallet:acct_bob', 100000, '2026-01-11T08:02:00.000000+00:00', NULL, 'welcome');
INSERT INTO jobs (id, account_id, key_id, model, params, price, status, created_at, idempotency_key, request_digest) VALUES
    ('job_paid', 'acct_ada', 'key_ada', 'sdxl-1.0', '{"prompt":"paid","seed":1,"n":1}', 20000, 'queued', '2026-01-11T09:00:00.000000+00:00', 'paid', 'digest of paid'),
    ('job_lost', 'acct_ada', 'key_ada', 'sdxl-1.0', '{"prompt":"lost","seed":2,"n":1}', 30000, 'queued', '2026-01-11T09:00:01.000000+00:00', NULL, 'digest of lost'),
    ('job_running', 'acct_ada', 'key_ada', 'sdxl-1.0', '{"prompt":"running","seed":3,"n":2}', 40000, 'queued', '2026-01-11T09:00:02.000000+00:00', 'running', 'digest of running'),
    ('job_waiting', 'acct_bob', 'key_bob', 'sdxl-1.0', '{"prompt":"waiting","seed":4,"n":1}', 10000, 'queued', '2026-01-11T09:00:03.000000+00:00', NULL, 'digest of waiting');
INSERT INTO shards (id, job_id, position, params, status) VALUES
    ('job_paid-0', 'job_paid', 0, '{"prompt":"paid","seed":1}', 'waiting'),
    ('job_lost-0', 'job_lost', 0, '{"prompt":"lost","seed":2}', 'waiting'),
    ('job_running-0', 'job_running', 0, '{"prompt":"running","seed":3}', 'waiting'),
    ('job_running-1', 'job_running', 1, '{"prompt":"running","seed":4}', 'waiting'),
    ('job_waiting-0', 'job_waiting', 0, '{"prompt":"waiting","seed":4}', 'waiting');
INSERT INTO entries (key, kind, account_id, source, target, micros, at, job_id, reference) VALUES
    ('hold:job_paid', 'hold', 'acct_ada', 'wallet:acct_ada', 'held:acct_ada', 20000, '2026-01-11T09:00:00.000000+00:00', 'job_paid', NULL),
    ('hold:job_lost', 'hold', 'acct_ada', 'wallet:acct_ada', 'held:acct_ada', 30000, '2026-01-11T09:00:01.000000+00:00', 'job_lost', NULL),
    ('hold:job_running', 'hold', 'acct_ada', 'wallet:acct_ada', 'held:acct_ada', 40000, '2026-01-11T09:00:02.000000+00:00', 'job_running', NULL),
    ('hold:job_waiting', 'hold', 'acct_bob', 'wallet:acct_bob', 'held:acct_bob', 10000, '2026-01-11T09:00:03.000000+00:00', 'job_waiting', NULL),
    ('capture:job_paid', 'capture', 'acct_ada', 'held:acct_ada', 'revenue', 20000, '2026-01-11T09:00:10.000000+00:00', 'job_paid', NULL),
    ('release:job_lost', 'release', 'acct_ada', 'held:acct_ada', 'wallet:acct_ada', 30000, '2026-01-11T09:00:11.000000+00:00', 'job_lost', NULL),
    ('refund:job_paid:sorry', 'refund', 'acct_ada', 'revenue', 'wallet:acct_ada', 5000, '2026-01-12T00:00:00.000000+00:00', 'job_paid', 'sorry');
INSERT INTO usage_days (day, account_id, key_id, model, simulated, jobs, outputs, micros, gpu_seconds) VALUES
    ('2026-01-10', 'acct_ada', 'key_ada', 'sdxl-1.0', 1, 1, 2, 0, 5.0),
    ('2026-01-11', 'acct_ada', 'key_ada', 'sdxl-1.0', 0, 1, 1, 20000, 3.5);
INSERT INTO attempts (prompt_id, shard_id, number, instance_id, started_at, ended_at, outcome, detail) VALUES
    ('p-paid', 'job_paid-0', 1, 'gpu-0', '2026-01-11T09:00:04.000000+00:00', '2026-01-11T09:00:10.000000+00:00', 'ok', NULL),
    ('p-running', 'job_running-0', 1, 'gpu-0', '2026-01-11T09:00:12.000000+00:00', NULL, NULL, NULL);
UPDATE shards SET status = 'succeeded', gpu_seconds = 3.5, attempts = 1, outputs =
    '[{"key":"outputs/bb/bb01.png","content_type":"image/png","size":902,"sha256":"bb01","width":64,"height":64,"frames":null,"fps":null}]'
    WHERE id = 'job_paid-0';
UPDATE shards SET status = 'failed' WHERE id = 'job_lost-0';
UPDATE shards SET status = 'running', attempts = 1 WHERE id = 'job_running-0';
UPDATE jobs SET status = 'succeeded', started_at = '2026-01-11T09:00:04.000000+00:00', finished_at = '2026-01-11T09:00:10.000000+00:00' WHERE id = 'job_paid';
UPDATE jobs SET status = 'failed', finished_at = '2026-01-11T09:00:11.000000+00:00', error_code = 'expired',
    error_message = 'No instance could start the request in time.' WHERE id = 'job_lost';
UPDATE jobs SET status = 'running', started_at = '2026-01-11T09:00:12.000000+00:00' WHERE id = 'job_running';
