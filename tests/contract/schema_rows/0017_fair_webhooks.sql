-- A message that names its receiver by host and port.
INSERT INTO outbox (account_id, topic, payload, url, created_at, due_at, attempts, receiver) VALUES
    ('acct_bob', 'budget.alert', '{"alert":"alert_balance"}', 'https://bob.example/alerts', '2026-01-25T13:00:00.000000+00:00',
        '2026-01-25T13:00:00.000000+00:00', 0, 'bob.example:443');
