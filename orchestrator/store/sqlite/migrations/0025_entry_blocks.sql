-- What each block of 8192 consecutive entries has added to an account, so that its balance at an earlier moment
-- costs the same however many entries have followed. Holds and releases add nothing and are left out.
CREATE TABLE entry_blocks (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    block INTEGER NOT NULL,
    micros INTEGER NOT NULL,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    PRIMARY KEY (account_id, block)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER entries_add_to_blocks AFTER INSERT ON entries WHEN new.kind NOT IN ('hold', 'release')
BEGIN
    INSERT INTO entry_blocks (account_id, block, micros, first_at, last_at)
        VALUES (
            new.account_id,
            new.id / 8192,
            CASE WHEN new.target IN ('wallet:' || new.account_id, 'held:' || new.account_id)
                THEN new.micros ELSE 0 END
            - CASE WHEN new.source IN ('wallet:' || new.account_id, 'held:' || new.account_id)
                THEN new.micros ELSE 0 END,
            new.at,
            new.at
        )
        ON CONFLICT (account_id, block) DO UPDATE SET
            micros = micros + excluded.micros,
            first_at = min(first_at, excluded.first_at),
            last_at = max(last_at, excluded.last_at);
END;

INSERT INTO entry_blocks (account_id, block, micros, first_at, last_at)
    SELECT account_id, id / 8192,
        sum(
            CASE WHEN target IN ('wallet:' || account_id, 'held:' || account_id) THEN micros ELSE 0 END
            - CASE WHEN source IN ('wallet:' || account_id, 'held:' || account_id) THEN micros ELSE 0 END
        ),
        min(at), max(at)
    FROM entries WHERE kind NOT IN ('hold', 'release') GROUP BY account_id, id / 8192;
