-- What each block of 8192 consecutive entries has added to an account, so that its balance at an earlier moment
-- costs the same however many entries have followed. Holds and releases add nothing and are left out.
CREATE TABLE entry_blocks (
    account_id TEXT COLLATE "C" NOT NULL REFERENCES accounts (id),
    block BIGINT NOT NULL,
    micros BIGINT NOT NULL,
    first_at TIMESTAMPTZ NOT NULL,
    last_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account_id, block)
) WITH (fillfactor = 70);

CREATE FUNCTION add_to_blocks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO entry_blocks AS kept (account_id, block, micros, first_at, last_at)
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
            micros = kept.micros + excluded.micros,
            first_at = least(kept.first_at, excluded.first_at),
            last_at = greatest(kept.last_at, excluded.last_at);
    RETURN NULL;
END $$;

-- From here to the end of the migration no other process adds entries: none is counted twice or left out.
CREATE TRIGGER entries_add_to_blocks AFTER INSERT ON entries
    FOR EACH ROW WHEN (new.kind NOT IN ('hold', 'release')) EXECUTE FUNCTION add_to_blocks();

INSERT INTO entry_blocks (account_id, block, micros, first_at, last_at)
    SELECT account_id, id / 8192,
        sum(
            CASE WHEN target IN ('wallet:' || account_id, 'held:' || account_id) THEN micros ELSE 0 END
            - CASE WHEN source IN ('wallet:' || account_id, 'held:' || account_id) THEN micros ELSE 0 END
        ),
        min(at), max(at)
    FROM entries WHERE kind NOT IN ('hold', 'release') GROUP BY account_id, id / 8192;
