-- A file of a removed job that has to be deleted, and one that was deleted.
INSERT INTO object_deletions (key, reason, requested_at, due_at, attempts, deleted_at) VALUES
    ('outputs/cc/cc01.png', 'removed', '2026-01-21T10:00:00.000000+00:00', '2026-01-21T10:00:04.000000+00:00', 2, NULL),
    ('outputs/dd/dd01.png', 'orphan', '2026-01-21T10:00:00.000000+00:00', '2026-01-21T10:00:00.000000+00:00', 0,
    '2026-01-21T10:00:01.000000+00:00');
