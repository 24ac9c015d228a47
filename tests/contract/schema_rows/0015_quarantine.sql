-- A job that failed after two deaths of instances, with the graph that is kept of it.
UPDATE shards SET deaths = 2, tries = 0 WHERE id = 'job_broken-0';
INSERT INTO quarantined_shards (shard_id, model_digest, graph, quarantined_at) VALUES
    ('job_broken-0', '3f2a', '{"1":{"class_type":"EmptyImage","inputs":{"width":64}}}', '2026-01-23T10:00:00.000000+00:00');
