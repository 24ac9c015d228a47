-- A job that was metered as it ran, on a named device.
INSERT INTO jobs (id, account_id, key_id, model, params, price, status, created_at) VALUES
    ('job_metered', 'acct_bob', 'key_bob', 'wan2.1-t2v', '{"prompt":"metered","seed":1,"n":1}', 70000, 'queued', '2026-01-14T09:00:00.000000+00:00');
INSERT INTO shards (id, job_id, position, params, status) VALUES
    ('job_metered-0', 'job_metered', 0, '{"prompt":"metered","seed":1}', 'waiting');
INSERT INTO entries (key, kind, account_id, source, target, micros, at, job_id, reference) VALUES
    ('hold:job_metered', 'hold', 'acct_bob', 'wallet:acct_bob', 'held:acct_bob', 70000, '2026-01-14T09:00:00.000000+00:00', 'job_metered', NULL),
    ('capture:job_metered', 'capture', 'acct_bob', 'held:acct_bob', 'revenue', 70000, '2026-01-14T09:01:00.000000+00:00', 'job_metered', NULL),
    ('refund:job_metered:half', 'refund', 'acct_bob', 'revenue', 'wallet:acct_bob', 35000, '2026-01-15T09:01:00.000000+00:00', 'job_metered', 'half');
INSERT INTO attempts (prompt_id, shard_id, number, instance_id, started_at, ended_at, outcome) VALUES
    ('p-metered', 'job_metered-0', 1, 'gpu-1', '2026-01-14T09:00:01.000000+00:00', '2026-01-14T09:01:00.000000+00:00', 'ok');
UPDATE shards SET status = 'succeeded', gpu_seconds = 58.25, load_seconds = 9.5, peak_vram = 23000000000, device = 'NVIDIA H100', model_digest = 'm1', attempts = 1,
    outputs = '[{"key":"outputs/cc/cc01.mp4","content_type":"video/mp4","size":90300,"sha256":"cc01","width":640,"height":480,"frames":81,"fps":16.0}]'
    WHERE id = 'job_metered-0';
UPDATE jobs SET status = 'succeeded', started_at = '2026-01-14T09:00:01.000000+00:00', finished_at = '2026-01-14T09:01:00.000000+00:00' WHERE id = 'job_metered';
INSERT INTO usage_days (day, account_id, key_id, model, simulated, jobs, outputs, micros, gpu_seconds) VALUES
    ('2026-01-14', 'acct_bob', 'key_bob', 'wan2.1-t2v', 0, 1, 1, 70000, 58.25);
INSERT INTO meter_days (day, model, device, shards, gpu_seconds, load_seconds, bytes_stored, bytes_sent, revenue) VALUES
    ('2026-01-14', 'wan2.1-t2v', 'NVIDIA H100', 1, 58.25, 9.5, 90300, 180600, 70000),
    ('2026-01-15', 'wan2.1-t2v', 'NVIDIA H100', 0, 0, 0, 0, 0, -35000);
