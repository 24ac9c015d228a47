-- Host and port to which a message is delivered, so that no receiver waits for another one's messages.
-- Earlier messages keep their whole URL here, which separates receivers just as well.
ALTER TABLE outbox ADD COLUMN receiver TEXT;

UPDATE outbox SET receiver = url WHERE url IS NOT NULL;

CREATE INDEX outbox_due_receiver ON outbox (account_id, receiver, due_at, id) WHERE due_at IS NOT NULL;

-- Errors of deliveries without a response named internal hosts and what the resolver knows of them.
UPDATE outbox SET error = 'The receiver could not be reached' WHERE error IS NOT NULL AND error NOT LIKE 'HTTP %';
UPDATE deliveries SET error = 'The receiver could not be reached' WHERE error IS NOT NULL AND http_status IS NULL;
