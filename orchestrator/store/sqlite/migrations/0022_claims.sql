-- Which sender delivers a message, and until when no other one may: its process may have ended.
ALTER TABLE outbox ADD COLUMN claimed_by TEXT;
ALTER TABLE outbox ADD COLUMN claimed_until TEXT CHECK ((claimed_until IS NULL) = (claimed_by IS NULL));
