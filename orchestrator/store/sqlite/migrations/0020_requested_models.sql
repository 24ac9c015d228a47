-- The name by which the request asked for its model (NULL: by its id), and what of the request had no effect (a
-- JSON list of sentences).
ALTER TABLE jobs ADD COLUMN requested_model TEXT;
ALTER TABLE jobs ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]';
