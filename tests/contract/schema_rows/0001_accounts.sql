-- Two customers; one of three keys is revoked.
INSERT INTO accounts (id, name, plan, created_at) VALUES
    ('acct_ada', 'Ada', 'free', '2026-01-05T08:00:00.000000+00:00'),
    ('acct_bob', 'Bob "B" O''Neill', 'pro', '2026-01-06T09:30:00.000000+00:00');
INSERT INTO keys (id, account_id, digest, prefix, name, created_at, revoked_at) VALUES
    ('key_ada', 'acct_ada', 'd1', 'pk-Ada1', 'laptop', '2026-01-05T08:00:01.000000+00:00', NULL),
    ('key_ada_old', 'acct_ada', 'd2', 'pk-Ada0', '', '2026-01-05T08:00:02.000000+00:00', '2026-01-07T00:00:00.000000+00:00'),
    ('key_bob', 'acct_bob', 'd3', 'pk-Bob1', 'Büro ☃', '2026-01-06T09:30:01.000000+00:00', NULL);
