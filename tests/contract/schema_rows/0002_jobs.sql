-- Before there was a ledger, jobs had no price.
INSERT INTO jobs (id, account_id, key_id, model, params, price, status, created_at, idempotency_key, request_digest) VALUES
    ('job_free', 'acct_ada', 'key_ada', 'sdxl-1.0', '{"prompt":"a fox \ud83e\udd8a","seed":7,"n":2}', 0, 'queued',
        '2026-01-10T10:00:00.000000+00:00', 'first', 'digest of first'),
    ('job_broken', 'acct_bob', 'key_bob', 'sdxl-1.0', '{"prompt":"a fox","seed":8,"n":1}', 0, 'queued',
        '2026-01-10T10:00:01.000000+00:00', NULL, 'digest of broken'),
    ('job_cancelled', 'acct_bob', 'key_bob', 'sdxl-1.0', '{"prompt":"a fox","seed":9,"n":1}', 0, 'queued',
        '2026-01-10T10:00:02.000000+00:00', NULL, NULL);
INSERT INTO shards (id, job_id, position, params, status) VALUES
    ('job_free-0', 'job_free', 0, '{"prompt":"a fox","seed":7}', 'waiting'),
    ('job_free-1', 'job_free', 1, '{"prompt":"a fox","seed":8}', 'waiting'),
    ('job_broken-0', 'job_broken', 0, '{"prompt":"a fox","seed":8}', 'waiting'),
    ('job_cancelled-0', 'job_cancelled', 0, '{"prompt":"a fox","seed":9}', 'waiting');
INSERT INTO attempts (prompt_id, shard_id, number, instance_id, started_at, ended_at, outcome, detail) VALUES
    ('p-free-0', 'job_free-0', 1, 'gpu-0', '2026-01-10T10:00:03.000000+00:00', '2026-01-10T10:00:09.000000+00:00', 'ok', NULL),
    ('p-free-1', 'job_free-1', 1, 'gpu-1', '2026-01-10T10:00:03.000000+00:00', '2026-01-10T10:00:08.000000+00:00', 'ok', NULL),
    ('p-broken-1', 'job_broken-0', 1, 'gpu-0', '2026-01-10T10:00:10.000000+00:00', '2026-01-10T10:00:11.000000+00:00', 'instance_gone', 'gpu-0 ended'),
    ('p-broken-2', 'job_broken-0', 2, 'gpu-1', '2026-01-10T10:00:12.000000+00:00', '2026-01-10T10:00:13.000000+00:00', 'node_failed', 'KSampler: boom');
UPDATE shards SET status = 'succeeded', simulated = 1, gpu_seconds = 2.5, attempts = 1, outputs =
    '[{"key":"outputs/aa/aa01.png","content_type":"image/png","size":900,"sha256":"aa01","width":64,"height":64,"frames":null,"fps":null}]'
    WHERE id = 'job_free-0';
UPDATE shards SET status = 'succeeded', simulated = 1, gpu_seconds = 2.5, attempts = 1, outputs =
    '[{"key":"outputs/aa/aa02.png","content_type":"image/png","size":901,"sha256":"aa02","width":64,"height":64,"frames":null,"fps":null}]'
    WHERE id = 'job_free-1';
UPDATE shards SET status = 'failed', attempts = 2 WHERE id = 'job_broken-0';
UPDATE shards SET status = 'cancelled' WHERE id = 'job_cancelled-0';
UPDATE jobs SET status = 'succeeded', started_at = '2026-01-10T10:00:03.000000+00:00', finished_at = '2026-01-10T10:00:09.000000+00:00'
    WHERE id = 'job_free';
UPDATE jobs SET status = 'failed', started_at = '2026-01-10T10:00:10.000000+00:00', finished_at = '2026-01-10T10:00:13.000000+00:00',
    error_code = 'node_failed', error_message = 'A node of the model''s graph failed.' WHERE id = 'job_broken';
UPDATE jobs SET status = 'cancelled', finished_at = '2026-01-10T10:00:14.000000+00:00' WHERE id = 'job_cancelled';
