-- A key with limits that was rotated: its successor counts towards the same caps.
UPDATE keys SET revoked_at = '2026-01-26T00:00:00.000000+00:00' WHERE id = 'key_limited';
INSERT INTO keys (id, account_id, digest, prefix, name, created_at, scopes, models, expires_at, day_cap, month_cap, first_key_id) VALUES
    ('key_rotated', 'acct_bob', 'd5', 'pk-Bob3', 'limited', '2026-01-26T00:00:00.000000+00:00', '["generate"]', '["sdxl-1.0"]',
        '2027-01-13T00:00:00.000000+00:00', 1000000, 0, 'key_limited');
