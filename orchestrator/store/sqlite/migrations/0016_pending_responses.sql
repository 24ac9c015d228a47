-- What the connection of a request without an idempotency key still has to bring its caller: the job's result
-- ('result') or its id ('id'); 'lost': the caller disconnected before the result was sent. NULL: nothing.
ALTER TABLE jobs ADD COLUMN pending_response TEXT CHECK (pending_response IN ('result', 'id', 'lost'));

CREATE INDEX jobs_pending_response ON jobs (pending_response, request_digest)
    WHERE pending_response IS NOT NULL;
