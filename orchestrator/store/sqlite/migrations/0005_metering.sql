ALTER TABLE shards ADD COLUMN load_seconds REAL NOT NULL DEFAULT 0;
ALTER TABLE shards ADD COLUMN peak_vram INTEGER;
ALTER TABLE shards ADD COLUMN device TEXT NOT NULL DEFAULT '';
ALTER TABLE shards ADD COLUMN model_digest TEXT NOT NULL DEFAULT '';

-- What work used and earned, added up as it happens. Revenue is what was captured less what was refunded.
CREATE TABLE meter_days (
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    device TEXT NOT NULL,
    shards INTEGER NOT NULL DEFAULT 0,
    gpu_seconds REAL NOT NULL DEFAULT 0,
    load_seconds REAL NOT NULL DEFAULT 0,
    bytes_stored INTEGER NOT NULL DEFAULT 0,
    bytes_sent INTEGER NOT NULL DEFAULT 0,
    revenue INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (day, model, device)
) STRICT, WITHOUT ROWID;

INSERT INTO meter_days (day, model, device, shards, gpu_seconds, revenue)
    SELECT day, model, CASE simulated WHEN 1 THEN 'simulated' ELSE '' END,
        sum(outputs), sum(gpu_seconds), sum(micros)
    FROM usage_days GROUP BY 1, 2, 3;
