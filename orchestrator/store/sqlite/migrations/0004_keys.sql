-- What a key may do (JSON lists; models NULL: all), and how much it may spend (micro-dollars; NULL: no cap).
ALTER TABLE keys ADD COLUMN scopes TEXT NOT NULL DEFAULT '["billing","generate","read"]';
ALTER TABLE keys ADD COLUMN models TEXT;
ALTER TABLE keys ADD COLUMN expires_at TEXT;
ALTER TABLE keys ADD COLUMN day_cap INTEGER CHECK (day_cap >= 0);
ALTER TABLE keys ADD COLUMN month_cap INTEGER CHECK (month_cap >= 0);

CREATE INDEX usage_days_key ON usage_days (key_id, day);
CREATE INDEX jobs_unfinished_key ON jobs (key_id) WHERE finished_at IS NULL;
CREATE INDEX jobs_unfinished_account ON jobs (account_id) WHERE finished_at IS NULL;

-- The day from which the billing months of a plan are counted.
ALTER TABLE accounts ADD COLUMN plan_since TEXT;
UPDATE accounts SET plan_since = created_at;
-- Start of the billing month whose allowance was given last.
ALTER TABLE accounts ADD COLUMN renewed TEXT;

CREATE INDEX entries_time ON entries (account_id, at);
