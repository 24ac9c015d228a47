-- A key with limits, and an account whose plan grants an allowance.
INSERT INTO keys (id, account_id, digest, prefix, name, created_at, scopes, models, expires_at, day_cap, month_cap) VALUES
    ('key_limited', 'acct_bob', 'd4', 'pk-Bob2', 'limited', '2026-01-13T00:00:00.000000+00:00', '["generate"]', '["sdxl-1.0"]',
        '2027-01-13T00:00:00.000000+00:00', 1000000, 0);
UPDATE accounts SET plan_since = '2026-01-13T00:00:00.000000+00:00', renewed = '2026-01-13T00:00:00.000000+00:00' WHERE id = 'acct_bob';
INSERT INTO entries (key, kind, account_id, source, target, micros, at, job_id, reference) VALUES
    ('grant:acct_bob:plan 2026-01-13T00:00:00+00:00', 'grant', 'acct_bob', 'promotions', 'wallet:acct_bob', 2000000, '2026-01-13T00:00:00.000000+00:00', NULL,
        'plan 2026-01-13T00:00:00+00:00');
