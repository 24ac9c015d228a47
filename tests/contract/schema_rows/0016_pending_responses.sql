-- A caller waits for an unfinished job, one was sent the id of a job, and one disconnected before the result.
UPDATE jobs SET pending_response = 'result' WHERE id = 'job_waiting';
UPDATE jobs SET pending_response = 'id' WHERE id = 'job_origin';
UPDATE jobs SET pending_response = 'lost', request_digest = 'digest of metered' WHERE id = 'job_metered';
