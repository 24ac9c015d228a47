-- A waiting job with a receiver, and the message about a finished one.
INSERT INTO jobs (id, account_id, key_id, model, params, price, status, created_at, webhook_url) VALUES
    ('job_hooked', 'acct_ada', 'key_ada', 'sdxl-1.0', '{"prompt":"hooked","seed":1,"n":1}', 10000, 'queued', '2026-01-20T09:00:00.000000+00:00',
        'https://ada.example/jobs');
INSERT INTO shards (id, job_id, position, params, status) VALUES ('job_hooked-0', 'job_hooked', 0, '{"prompt":"hooked","seed":1}', 'waiting');
INSERT INTO entries (key, kind, account_id, source, target, micros, at, job_id, reference) VALUES
    ('hold:job_hooked', 'hold', 'acct_ada', 'wallet:acct_ada', 'held:acct_ada', 10000, '2026-01-20T09:00:00.000000+00:00', 'job_hooked', NULL);
INSERT INTO outbox (account_id, topic, payload, url, created_at, due_at, attempts, job_id) VALUES
    ('acct_ada', 'job.succeeded', '{"job":"job_paid"}', 'https://ada.example/jobs', '2026-01-20T09:00:01.000000+00:00', '2026-01-20T09:00:01.000000+00:00', 0, 'job_paid');
