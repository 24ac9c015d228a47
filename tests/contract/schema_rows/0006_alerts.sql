-- A budget alert that fired and one that did not; messages that wait, were delivered, were given up.
INSERT INTO alerts (id, account_id, watched, threshold, url, created_at, fired) VALUES
    ('alert_day', 'acct_ada', 'day', 10000, 'https://ada.example/alerts', '2026-01-16T00:00:00.000000+00:00', '2026-01-16'),
    ('alert_balance', 'acct_bob', 'balance', 1, NULL, '2026-01-16T00:00:01.000000+00:00', NULL);
INSERT INTO outbox (account_id, topic, payload, url, created_at, due_at, attempts, delivered_at, error) VALUES
    ('acct_ada', 'budget.alert', '{"alert":"alert_day","watched":"day","threshold":10000}', 'https://ada.example/alerts', '2026-01-16T00:00:02.000000+00:00',
        '2026-01-16T00:05:00.000000+00:00', 2, NULL, 'HTTP 500'),
    ('acct_ada', 'budget.alert', '{"alert":"alert_day","watched":"day","threshold":10000}', 'https://ada.example/alerts', '2026-01-16T00:00:03.000000+00:00',
        NULL, 1, '2026-01-16T00:00:04.000000+00:00', NULL),
    ('acct_bob', 'budget.alert', '{"alert":"alert_balance"}', NULL, '2026-01-16T00:00:05.000000+00:00', NULL, 0, NULL, NULL);
