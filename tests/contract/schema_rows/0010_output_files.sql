-- The files of an old job expired and were deleted; an input file of a waiting job.
DELETE FROM output_files WHERE job_id = 'job_free';
INSERT INTO jobs (id, account_id, key_id, model, params, price, status, created_at) VALUES
    ('job_edit', 'acct_ada', 'key_ada', 'qwen-image-edit', '{"prompt":"edit","n":1}', 10000, 'queued', '2026-01-21T09:00:00.000000+00:00');
INSERT INTO shards (id, job_id, position, params, status) VALUES
    ('job_edit-0', 'job_edit', 0,
    '{"prompt":"edit","image":["inputs/5e/5e00000000000000000000000000000000000000000000000000000000000001.png"],"seed":1}', 'waiting');
INSERT INTO entries (key, kind, account_id, source, target, micros, at, job_id, reference) VALUES
    ('hold:job_edit', 'hold', 'acct_ada', 'wallet:acct_ada', 'held:acct_ada', 10000, '2026-01-21T09:00:00.000000+00:00', 'job_edit', NULL);
