-- name: sum_used
SELECT coalesce(sum(input_tokens + output_tokens), 0)::bigint FROM used_tokens
WHERE conversation = ? AND at >= ? AND at < ?

-- name: vote
INSERT INTO votes (conversation, message, at, value, reason)
SELECT ?1::bigint, ?2::text, ?3::bigint, ?4::integer, ?5::text
WHERE NOT EXISTS (SELECT 1 FROM votes WHERE conversation = ?1 AND message = ?2 AND at > ?3::bigint - ?6::bigint)
ON CONFLICT (conversation, message, at) DO NOTHING

-- name: append
WITH given AS (
    SELECT *, row_number() OVER (PARTITION BY conversation, account ORDER BY place) AS nth
    FROM unnest(
        ?1::text[], ?2::text[], ?3::text[], ?4::text[], ?5::bigint[], ?6::bigint[], ?7::text[], ?8::text[], ?9::text[],
        ?10::text[]
    ) WITH ORDINALITY
    AS g (conversation, account, id, type, created_at, updated_at, name, description, meta, text, place)
), counted AS (
    SELECT conversation, account, count(*) AS count, (array_agg(created_at ORDER BY place DESC))[1] AS moment
    FROM given
    GROUP BY conversation, account
), held AS (
    SELECT c.key, k.count, k.moment
    FROM counted k JOIN conversations c ON c.id = k.conversation AND c.account = k.account
    WHERE c.expires_at IS NULL OR c.expires_at > ?11
    ORDER BY c.id
    FOR NO KEY UPDATE OF c
), extended AS (
    UPDATE conversations c SET last_sequence = c.last_sequence + h.count, updated_at = h.moment
    FROM held h
    WHERE c.key = h.key
    RETURNING c.key, c.id, c.account, c.last_sequence - h.count AS before
), stored AS (
    INSERT INTO messages (
        conversation, sequence, id, type, created_at, updated_at, name, description, meta, text
    )
    SELECT e.key, e.before + g.nth, g.id, g.type, g.created_at, g.updated_at, g.name, g.description, g.meta, g.text
    FROM given g JOIN extended e ON e.id = g.conversation AND e.account = g.account
    ORDER BY e.key, g.nth
)
SELECT id, account FROM extended
