-- 0005 took the revenue of earlier days from `usage_days`, which does not know refunds. Where refunds were booked
-- before it was applied, the metered revenue has been too high by them ever since.
INSERT INTO meter_days (day, model, device, revenue)
SELECT substr(refund.at, 1, 10), jobs.model,
    CASE WHEN shards.device = '' AND shards.simulated = 1 THEN 'simulated' ELSE shards.device END,
    -sum(refund.micros)
FROM entries AS refund
JOIN jobs ON jobs.id = refund.job_id
JOIN shards ON shards.job_id = jobs.id AND shards.position = 0
WHERE refund.kind = 'refund'
    AND refund.at < (
        SELECT replace(applied_at, ' ', 'T') FROM _sqlite_migrations
        WHERE migration_set = 'pixel_factory' AND name = '0005_metering'
    )
    AND (SELECT sum(revenue) FROM meter_days) > (SELECT micros FROM balances WHERE account = 'revenue')
GROUP BY 1, 2, 3
ON CONFLICT (day, model, device) DO UPDATE SET revenue = revenue + excluded.revenue;
