-- Lists of one account's failed or cancelled jobs, which are few among its others.
CREATE INDEX jobs_failed_account ON jobs (account_id, seq) WHERE status = 'failed';
CREATE INDEX jobs_cancelled_account ON jobs (account_id, seq) WHERE status = 'cancelled';
