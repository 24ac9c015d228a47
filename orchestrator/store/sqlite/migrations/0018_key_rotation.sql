-- Id of the first key in a chain of rotations; NULL for a key that replaces no other. What all keys of a chain
-- spend counts towards their caps.
ALTER TABLE keys ADD COLUMN first_key_id TEXT REFERENCES keys (id);
CREATE INDEX keys_first_key ON keys (first_key_id) WHERE first_key_id IS NOT NULL;
