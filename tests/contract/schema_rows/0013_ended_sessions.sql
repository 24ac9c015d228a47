-- A session that was signed out, and one that has expired since.
INSERT INTO ended_sessions (id, expires_at) VALUES
    ('session-of-tomorrow', '2027-06-01T00:00:00.000000+00:00'),
    ('session-of-yesterday', '2026-01-21T00:00:00.000000+00:00');
