-- name: begin
INSERT INTO waits (turn, call_id, attempt, channel) VALUES (?, ?, ?, ?)
ON CONFLICT (turn, call_id) DO UPDATE SET attempt = excluded.attempt, channel = excluded.channel
WHERE waits.attempt <= excluded.attempt

-- name: end
DELETE FROM waits WHERE turn = ? AND call_id = ? AND attempt = ?

-- name: waiting
SELECT t.owner FROM turns t JOIN waits w ON w.turn = t.id AND w.attempt = t.attempt
WHERE t.conversation = ? AND t.state = 'running' AND t.account = ? AND w.channel = ?

-- name: purge
DELETE FROM waits WHERE turn IN (
    SELECT w.turn FROM waits w LEFT JOIN turns t ON t.id = w.turn AND t.ended_at IS NULL WHERE t.id IS NULL LIMIT ?
)
