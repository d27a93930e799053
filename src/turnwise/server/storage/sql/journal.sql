-- name: now_fragment
CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)

-- name: mine_fragment
id = ? AND attempt = ? AND owner = ? AND EXISTS (
    SELECT 1 FROM processes p WHERE p.id = turns.owner AND p.lease_until > {now_fragment}
)

-- name: first_fragment
NOT EXISTS (
    SELECT 1 FROM turns earlier JOIN processes p ON p.id = earlier.owner AND p.lease_until > {now_fragment}
    WHERE earlier.conversation = turns.conversation AND earlier.state = 'waiting'
    AND (earlier.queued_at, earlier.id) < (turns.queued_at, turns.id)
)

-- name: awaited_fragment
EXISTS (SELECT 1 FROM turns later WHERE later.conversation = turns.conversation AND later.state = 'waiting')

-- name: columns
id, account, conversation, channel, kind, state, attempt, owner, message, request, steps, tokens, reason, created_at,
started_at, ended_at, cancel

-- name: tokens_fragment
max(tokens, ?, coalesce((SELECT max(e.tokens) FROM turn_events e WHERE e.turn = turns.id), 0))

-- name: register
INSERT INTO processes (id, lease_until) VALUES (?, {now_fragment} + ?)
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until

-- name: disown
UPDATE turns SET owner = '' WHERE owner = ? AND ended_at IS NULL

-- name: renew
UPDATE processes SET lease_until = {now_fragment} + ?2 WHERE id = ?1 AND lease_until > {now_fragment}

-- name: leave
DELETE FROM processes WHERE id = ?

-- name: alive
SELECT EXISTS (SELECT 1 FROM processes WHERE id = ? AND lease_until > {now_fragment})

-- name: others
SELECT count(*) FROM processes WHERE id <> ? AND lease_until > {now_fragment}

-- name: bury
DELETE FROM processes WHERE lease_until <= {now_fragment}

-- name: any_lapsed
SELECT EXISTS (
    SELECT 1 FROM turns
    WHERE ended_at IS NULL AND owner NOT IN (SELECT id FROM processes WHERE lease_until > {now_fragment})
)

-- name: lapsed
SELECT {columns} FROM turns
WHERE ended_at IS NULL AND owner NOT IN (SELECT id FROM processes WHERE lease_until > {now_fragment})
AND (kind <> 'dispatch' OR state = 'running' OR cancel = TRUE OR ?)
ORDER BY row_number() OVER (PARTITION BY account ORDER BY created_at, id), created_at, id
LIMIT ?

-- name: adopt
UPDATE turns SET owner = ?, attempt = attempt + 1 WHERE id = ? AND ended_at IS NULL

-- name: start
INSERT INTO turns (
    id, account, conversation, channel, kind, state, owner, attempt, message, request, tokens, cancel, created_at,
    started_at
)
SELECT ?1, ?2, ?3, ?4, ?5, 'running', ?6, 1, ?7, ?8, 0, FALSE, ?9, ?9
FROM conversations
WHERE id = ?3 AND account = ?2 AND (expires_at IS NULL OR expires_at > ?10)
AND EXISTS (SELECT 1 FROM processes p WHERE p.id = ?6 AND p.lease_until > {now_fragment})
AND NOT EXISTS (
    SELECT 1 FROM turns earlier JOIN processes p ON p.id = earlier.owner AND p.lease_until > {now_fragment}
    WHERE earlier.conversation = ?3 AND earlier.state = 'waiting'
)
ON CONFLICT (conversation) WHERE state = 'running' DO NOTHING

-- name: queue
INSERT INTO turns (
    id, account, conversation, channel, kind, state, owner, attempt, request, tokens, cancel, created_at, queued_at
)
SELECT ?1, ?2, ?3, ?4, ?5, 'waiting', ?6, 1, ?7, 0, FALSE, ?8, (
    SELECT max(place) FROM (
        SELECT {now_fragment} AS place
        UNION ALL SELECT queued_at + 1 FROM turns WHERE conversation = ?3 AND state = 'waiting'
    ) AS line
)
WHERE EXISTS (SELECT 1 FROM processes p WHERE p.id = ?6 AND p.lease_until > {now_fragment})
ON CONFLICT (account, channel) WHERE channel IS NOT NULL DO NOTHING

-- name: mine
SELECT account, conversation, message FROM turns WHERE {mine_fragment} AND ended_at IS NULL

-- name: resume
UPDATE OR IGNORE turns SET state = 'running', message = coalesce(message, ?), started_at = coalesce(started_at, ?)
WHERE id = ? AND ended_at IS NULL AND (state = 'running' OR {first_fragment})

-- name: first_of
SELECT turns.id FROM json_each(?) AS asked CROSS JOIN turns ON turns.id = asked.value
WHERE turns.state <> 'waiting'
OR NOT EXISTS (SELECT 1 FROM conversations c WHERE c.id = turns.conversation)
OR {first_fragment} AND NOT EXISTS (
    SELECT 1 FROM turns other WHERE other.conversation = turns.conversation AND other.state = 'running'
    AND (other.kind = 'dispatch' OR EXISTS (
        SELECT 1 FROM processes p WHERE p.id = other.owner AND p.lease_until > {now_fragment}
    ))
)

-- name: leave_line
DELETE FROM turns WHERE id = ? AND attempt = ? AND owner = ? AND state = 'waiting'

-- name: put_back
UPDATE turns SET owner = '' WHERE id = ? AND attempt = ? AND owner = ? AND ended_at IS NULL

-- name: hand_over
UPDATE turns SET owner = ''
WHERE owner = ?1 AND kind = 'dispatch' AND ended_at IS NULL AND (state = 'waiting' OR ?2)

-- name: run_stateless
UPDATE turns SET state = 'running', started_at = coalesce(started_at, ?)
WHERE {mine_fragment} AND ended_at IS NULL AND conversation IS NULL

-- name: running_in
SELECT {columns} FROM turns WHERE conversation = ? AND state = 'running'

-- name: unfinished_of
SELECT t.id, t.attempt, t.cancel FROM processes p CROSS JOIN turns t ON t.owner = p.id
WHERE p.id = ? AND p.lease_until > {now_fragment} AND t.ended_at IS NULL

-- name: cancelled_of
SELECT id FROM turns WHERE owner = ? AND ended_at IS NULL AND cancel = TRUE

-- name: add_text
INSERT INTO turn_events (turn, seq, tokens, text)
VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM turn_events WHERE turn = ?1), ?2, ?3)

-- name: is_journaled
SELECT EXISTS (SELECT 1 FROM turn_events WHERE turn = ? AND seq > 0 AND tokens >= ?)

-- name: is_published
SELECT EXISTS (
    SELECT 1 FROM channel_messages
    WHERE channel = (SELECT key FROM channels WHERE account = ? AND channel = ?) AND seq = ?
)

-- name: set_tokens
INSERT INTO turn_events (turn, seq, tokens, text) VALUES (?, 0, ?, '')
ON CONFLICT (turn, seq) DO UPDATE SET tokens = excluded.tokens

-- name: events
SELECT tokens, text FROM turn_events WHERE turn = ? ORDER BY seq

-- name: forget_events
DELETE FROM turn_events WHERE turn = ?

-- name: step
UPDATE turns SET steps = ?, tokens = {tokens_fragment}
WHERE {mine_fragment} AND state = 'running' AND (steps IS NULL OR steps <> ?)
RETURNING account, conversation, EXISTS (SELECT 1 FROM turn_events e WHERE e.turn = turns.id)

-- name: is_stored_step
SELECT EXISTS (SELECT 1 FROM turns WHERE {mine_fragment} AND state = 'running' AND steps = ?)

-- name: settle
UPDATE turns SET state = ?, reason = ?, ended_at = ?, request = x'', steps = NULL, tokens = {tokens_fragment}
WHERE {mine_fragment} AND ended_at IS NULL
RETURNING account, conversation, EXISTS (SELECT 1 FROM turn_events e WHERE e.turn = turns.id), {awaited_fragment}

-- name: end_abandoned
UPDATE turns SET state = ?, reason = ?, ended_at = ?, request = x'', steps = NULL, tokens = {tokens_fragment}
WHERE id = ? AND ended_at IS NULL

-- name: turn
SELECT {columns} FROM turns WHERE id = ?

-- name: newest
SELECT {columns} FROM turns WHERE conversation = ? ORDER BY created_at DESC, id DESC LIMIT 1

-- name: of_channel
SELECT {columns} FROM turns WHERE account = ? AND channel = ?

-- name: waiting_in
SELECT {columns} FROM turns
WHERE conversation = ? AND state = 'waiting'
ORDER BY queued_at, id
LIMIT 1

-- name: cancel
UPDATE turns SET cancel = TRUE WHERE id = ? AND ended_at IS NULL

-- name: purge
DELETE FROM turns WHERE ended_at <= ?1 AND id IN (
    SELECT id FROM turns WHERE ended_at IS NOT NULL ORDER BY id LIMIT ?2
)
