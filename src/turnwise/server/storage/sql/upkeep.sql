-- name: expired
SELECT id FROM conversations WHERE expires_at <= ? ORDER BY expires_at LIMIT ?

-- name: not_emptied
SELECT conversation FROM removed_conversations WHERE emptied = FALSE ORDER BY removed_at LIMIT 1

-- name: emptied
UPDATE removed_conversations SET emptied = TRUE WHERE conversation = ?

-- name: purge_messages
DELETE FROM messages WHERE conversation = ?1 AND sequence IN (
    SELECT sequence FROM messages WHERE conversation = ?1 ORDER BY sequence LIMIT ?2
)

-- name: purge_votes
DELETE FROM votes WHERE conversation = ?1 AND (message, at) IN (
    SELECT message, at FROM votes WHERE conversation = ?1 LIMIT ?2
)

-- name: purge_used
DELETE FROM used_tokens WHERE conversation = ?1 AND (at, model) IN (
    SELECT at, model FROM used_tokens WHERE conversation = ?1 LIMIT ?2
)

-- name: purge_removed_messages_of
DELETE FROM removed_messages WHERE conversation = ?1 AND id IN (
    SELECT id FROM removed_messages WHERE conversation = ?1 LIMIT ?2
)

-- name: purge_removed_messages
DELETE FROM removed_messages WHERE (conversation, id) IN (
    SELECT conversation, id FROM removed_messages WHERE removed_at <= ?1 ORDER BY removed_at LIMIT ?2
)

-- name: purge_removed_conversations
DELETE FROM removed_conversations WHERE conversation IN (
    SELECT conversation FROM removed_conversations WHERE emptied = TRUE AND removed_at <= ?1 ORDER BY removed_at LIMIT ?2
)

-- name: aged_keys
SELECT key, coalesce(length(answer), 0) FROM (
    SELECT key, created_at, answer FROM idempotency ORDER BY key LIMIT ?2
) oldest
WHERE created_at <= ?1
ORDER BY key

-- name: purge_idempotency
DELETE FROM idempotency WHERE created_at <= ?1 AND key BETWEEN ?2 AND ?3

-- name: purge_writers
DELETE FROM writers WHERE used_at <= ?1 AND id IN (SELECT id FROM writers ORDER BY used_at LIMIT ?2)
