-- Which sender delivers a message, and until when no other one does: its process may have ended meanwhile.
ALTER TABLE outbox ADD COLUMN claimed_by TEXT;
ALTER TABLE outbox ADD COLUMN claimed_until TEXT CHECK ((claimed_until IS NULL) = (claimed_by IS NULL));

CREATE INDEX outbox_claimed ON outbox (claimed_by) WHERE claimed_by IS NOT NULL;
