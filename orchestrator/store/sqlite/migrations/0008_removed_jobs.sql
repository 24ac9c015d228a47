-- From when on a job's caller does not see it any more.
ALTER TABLE jobs ADD COLUMN removed_at TEXT;
