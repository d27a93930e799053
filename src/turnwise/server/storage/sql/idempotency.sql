-- name: find
SELECT body, answer, message_id FROM idempotency WHERE digest = ? AND created_at > ?

-- name: remember
INSERT INTO idempotency (digest, body, created_at, message_id, answer) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (digest) DO NOTHING

-- name: forget
DELETE FROM idempotency WHERE digest = ? AND created_at <= ?

-- name: answer
UPDATE idempotency SET answer = ? WHERE digest = ? AND body = ? AND answer IS NULL AND created_at > ?

-- name: take
UPDATE idempotency SET message_id = ? WHERE digest = ? AND message_id = ? AND answer IS NULL

-- name: release
DELETE FROM idempotency WHERE digest = ? AND message_id = ? AND answer IS NULL
