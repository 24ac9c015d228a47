-- A sender of an ended process has claimed what is due.
UPDATE outbox SET claimed_by = 'a1b2c3d4e5f60718', claimed_until = '2026-01-30T12:01:00.000000+00:00'
WHERE due_at IS NOT NULL;
