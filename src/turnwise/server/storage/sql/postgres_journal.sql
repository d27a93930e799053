-- name: now_fragment
CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)

-- name: tokens_fragment
greatest(tokens, ?, coalesce((SELECT max(e.tokens) FROM turn_events e WHERE e.turn = turns.id), 0))

-- name: mine_writing
SELECT account, conversation, message FROM turns WHERE {mine_fragment} AND ended_at IS NULL FOR NO KEY UPDATE

-- name: running_in_writing
SELECT {columns} FROM turns WHERE conversation = ? AND state = 'running' FOR NO KEY UPDATE

-- name: waiting_in_writing
SELECT {columns} FROM turns
WHERE conversation = ? AND state = 'waiting'
ORDER BY queued_at, id
LIMIT 1
FOR NO KEY UPDATE

-- name: of_channel_writing
SELECT {columns} FROM turns WHERE account = ? AND channel = ? FOR NO KEY UPDATE

-- name: lapsed_writing
SELECT {columns} FROM turns JOIN (
    SELECT id AS which, row_number() OVER (PARTITION BY account ORDER BY created_at, id) AS place FROM turns
    WHERE ended_at IS NULL AND owner NOT IN (SELECT id FROM processes WHERE lease_until > {now_fragment})
    AND (kind <> 'dispatch' OR state = 'running' OR cancel = TRUE OR ?)
) AS line ON line.which = turns.id
WHERE ended_at IS NULL AND owner NOT IN (SELECT id FROM processes WHERE lease_until > {now_fragment})
ORDER BY line.place, created_at, id
LIMIT ?
FOR NO KEY UPDATE OF turns SKIP LOCKED

-- name: unfinished_of_writing
SELECT t.id, t.attempt, t.cancel FROM processes p JOIN turns t ON t.owner = p.id
WHERE p.id = ? AND p.lease_until > {now_fragment} AND t.ended_at IS NULL
ORDER BY t.id
FOR NO KEY UPDATE OF t

-- name: resume
UPDATE turns SET state = 'running', message = coalesce(message, ?), started_at = coalesce(started_at, ?)
WHERE id = ? AND ended_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM turns other
    WHERE other.conversation = turns.conversation AND other.state = 'running' AND other.id <> turns.id
) AND (state = 'running' OR {first_fragment})

-- name: first_of
SELECT turns.id FROM json_array_elements_text(?::json) AS asked(id) JOIN turns ON turns.id = asked.id
WHERE turns.state <> 'waiting'
OR NOT EXISTS (SELECT 1 FROM conversations c WHERE c.id = turns.conversation)
OR {first_fragment} AND NOT EXISTS (
    SELECT 1 FROM turns other WHERE other.conversation = turns.conversation AND other.state = 'running'
    AND (other.kind = 'dispatch' OR EXISTS (
        SELECT 1 FROM processes p WHERE p.id = other.owner AND p.lease_until > {now_fragment}
    ))
)

-- name: settle
UPDATE turns SET state = ?, reason = ?, ended_at = ?, request = '', steps = NULL, tokens = {tokens_fragment}
WHERE {mine_fragment} AND ended_at IS NULL
RETURNING account, conversation, EXISTS (SELECT 1 FROM turn_events e WHERE e.turn = turns.id), {awaited_fragment}

-- name: end_abandoned
UPDATE turns SET state = ?, reason = ?, ended_at = ?, request = '', steps = NULL, tokens = {tokens_fragment}
WHERE id = ? AND ended_at IS NULL

-- name: purge
DELETE FROM turns WHERE ended_at <= ?1 AND ctid = ANY (
    ARRAY(SELECT ctid FROM turns WHERE ended_at IS NOT NULL ORDER BY id LIMIT ?2)
)
