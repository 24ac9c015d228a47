-- What operators and their tools have changed: who, what, when. Rows are never changed; old ones are forgotten.
CREATE TABLE operator_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;

CREATE INDEX operator_events_subject ON operator_events (subject, id);
CREATE INDEX operator_events_time ON operator_events (at);

CREATE TRIGGER operator_events_are_never_changed BEFORE UPDATE ON operator_events
BEGIN
    SELECT RAISE(ABORT, 'operator events are never changed');
END;

-- When the instance had run the prompt; what follows until the end of the attempt is storing its results.
ALTER TABLE shards ADD COLUMN run_ended_at TEXT;

-- Failures are rare, and operators look for them among everything else.
CREATE INDEX jobs_failed ON jobs (seq) WHERE status = 'failed';
CREATE INDEX attempts_failed ON attempts (ended_at) WHERE outcome <> 'ok';
