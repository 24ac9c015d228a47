-- In whose words a job was asked for; of which of its ends its receiver wants to hear (a JSON list; NULL: of all);
-- and what its pictures are stored as (NULL: as the model makes them).
ALTER TABLE jobs ADD COLUMN origin TEXT;
ALTER TABLE jobs ADD COLUMN webhook_ends TEXT;
ALTER TABLE jobs ADD COLUMN output_type TEXT;
ALTER TABLE jobs ADD COLUMN output_quality INTEGER CHECK (output_quality BETWEEN 1 AND 100);
