-- An operator has drained an instance.
INSERT INTO operator_events (at, actor, action, subject, detail) VALUES
    ('2026-01-30T12:00:00.000000+00:00', 'operator', 'instances.drain', 'gpu-0', '{}');
