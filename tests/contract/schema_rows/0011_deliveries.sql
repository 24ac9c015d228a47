-- What came of two tries to deliver the first message.
INSERT INTO deliveries (message_id, at, seconds, http_status, error) VALUES
    ((SELECT min(id) FROM outbox), '2026-01-22T00:00:00.000000+00:00', 0.25, 500, 'HTTP 500'),
    ((SELECT min(id) FROM outbox), '2026-01-22T00:00:30.000000+00:00', 15.0, NULL, 'timeout');
