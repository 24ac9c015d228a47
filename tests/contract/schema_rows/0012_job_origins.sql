-- A job of a dialect whose images are re-encoded and whose receiver wants to hear of failures only.
INSERT INTO jobs (id, account_id, key_id, model, params, price, status, created_at, webhook_url, origin, webhook_ends, output_type, output_quality) VALUES
    ('job_origin', 'acct_bob', 'key_limited', 'sdxl-1.0', '{"prompt":"origin","seed":1,"n":1}', 10000, 'queued', '2026-01-23T09:00:00.000000+00:00',
        'https://bob.example/jobs', 'pixazo/flux-dev', '["failed"]', 'image/jpeg', 85);
INSERT INTO shards (id, job_id, position, params, status) VALUES ('job_origin-0', 'job_origin', 0, '{"prompt":"origin","seed":1}', 'waiting');
INSERT INTO entries (key, kind, account_id, source, target, micros, at, job_id, reference) VALUES
    ('hold:job_origin', 'hold', 'acct_bob', 'wallet:acct_bob', 'held:acct_bob', 10000, '2026-01-23T09:00:00.000000+00:00', 'job_origin', NULL);
