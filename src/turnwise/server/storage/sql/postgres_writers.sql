-- name: now_fragment
CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)

-- name: note
INSERT INTO writers (id, last_group, used_at) VALUES (?, ?, {now_fragment})
ON CONFLICT (id) DO UPDATE SET last_group = excluded.last_group, used_at = excluded.used_at

-- name: last_group
INSERT INTO writers (id, last_group, used_at) VALUES (?, 0, {now_fragment})
ON CONFLICT (id) DO UPDATE SET used_at = excluded.used_at
RETURNING last_group

-- name: forget
DELETE FROM writers WHERE id = ?

-- name: end_predecessors
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ? AND pid <> pg_backend_pid()

-- name: appended
SELECT m.id FROM conversations c JOIN messages m ON m.conversation = c.key
WHERE c.id = ANY (?::text[]) AND m.id = ANY (?::text[])

-- name: lock
WITH held AS MATERIALIZED (
    SELECT 1 FROM conversations c
    WHERE c.id IN (SELECT unnest(?1::text[]) UNION SELECT conversation FROM turns WHERE id = ANY (?2::text[]))
    ORDER BY c.id
    FOR NO KEY UPDATE OF c
), taken AS MATERIALIZED (
    SELECT 1 FROM turns t
    WHERE t.id = ANY (?2::text[]) AND (SELECT count(*) FROM held) >= 0
    ORDER BY t.id
    FOR NO KEY UPDATE
), opened AS MATERIALIZED (
    SELECT 1 FROM channels c
    WHERE (c.account, c.channel) IN (SELECT * FROM unnest(?3::text[], ?4::text[]))
    AND (SELECT count(*) FROM taken) >= 0
    ORDER BY c.account, c.channel
    FOR NO KEY UPDATE OF c
)
SELECT count(*) FROM opened

-- name: append
WITH sent AS MATERIALIZED (
    SELECT *
    FROM ROWS FROM (
        json_to_recordset(?1::json) AS (
            nth bigint, conversation text, account text, digest text, body text, at bigint, answer text, id text,
            type text, created_at bigint, updated_at bigint, name text, description text, meta text, text text
        )
    ) WITH ORDINALITY AS s (
        nth, conversation, account, digest, body, at, answer, id, type, created_at, updated_at, name, description,
        meta, text, ordinal
    )
), asked AS MATERIALIZED (
    SELECT nth, conversation, account, decode(digest, 'base64') AS digest, body, at, answer
    FROM sent
    WHERE conversation IS NOT NULL
), held AS MATERIALIZED (
    SELECT c.key, c.id, c.account, c.last_sequence, c.updated_at
    FROM conversations c
    WHERE c.id = ANY (ARRAY(SELECT conversation FROM asked)) AND (c.expires_at IS NULL OR c.expires_at > ?4::bigint)
    ORDER BY c.id
    FOR NO KEY UPDATE
), remembered AS (
    INSERT INTO idempotency (digest, body, created_at, answer)
    SELECT a.digest, decode(a.body, 'base64'), a.at, decode(a.answer, 'base64')
    FROM asked a JOIN held h ON h.id = a.conversation AND h.account = a.account
    WHERE a.digest IS NOT NULL
    ORDER BY a.digest
    ON CONFLICT (digest) DO NOTHING
    RETURNING digest
), accepted AS MATERIALIZED (
    SELECT a.nth, h.key, h.last_sequence, h.updated_at
    FROM asked a JOIN held h ON h.id = a.conversation AND h.account = a.account
    WHERE a.digest IS NULL OR a.digest IN (SELECT digest FROM remembered)
), given AS MATERIALIZED (
    SELECT t.key, t.last_sequence + row_number() OVER before AS sequence,
        greatest(t.updated_at, max(s.created_at) OVER before) AS moment,
        s.id, s.type, s.updated_at, s.name, s.description, s.meta, s.text
    FROM sent s JOIN accepted t ON t.nth = s.nth
    WINDOW before AS (PARTITION BY t.key ORDER BY s.ordinal)
), extended AS (
    UPDATE conversations c SET last_sequence = n.sequence, updated_at = n.moment
    FROM (SELECT key, max(sequence) AS sequence, max(moment) AS moment FROM given GROUP BY key) n
    WHERE c.key = n.key
), stored AS (
    INSERT INTO messages (
        conversation, sequence, id, type, created_at, updated_at, name, description, meta, text
    )
    SELECT key, sequence, id, type, moment, greatest(updated_at, moment), name, description, meta, text
    FROM given
), noted AS (
    INSERT INTO writers (id, last_group, used_at)
    SELECT ?2::text, ?3::bigint, {now_fragment}
    ON CONFLICT (id) DO UPDATE SET last_group = excluded.last_group, used_at = excluded.used_at
)
SELECT a.nth FROM asked a WHERE NOT EXISTS (SELECT 1 FROM accepted t WHERE t.nth = a.nth)
