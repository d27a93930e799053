-- name: expired_writing
SELECT id FROM conversations WHERE expires_at <= ? ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED

-- name: not_emptied_writing
SELECT conversation FROM removed_conversations WHERE emptied = FALSE ORDER BY removed_at LIMIT 1 FOR UPDATE SKIP LOCKED

-- name: purge_messages
DELETE FROM messages WHERE ctid = ANY (
    ARRAY(SELECT ctid FROM messages WHERE conversation = ?1 ORDER BY sequence LIMIT ?2)
)

-- name: purge_votes
DELETE FROM votes WHERE ctid = ANY (ARRAY(SELECT ctid FROM votes WHERE conversation = ?1 LIMIT ?2))

-- name: purge_used
DELETE FROM used_tokens WHERE ctid = ANY (ARRAY(SELECT ctid FROM used_tokens WHERE conversation = ?1 LIMIT ?2))

-- name: purge_removed_messages_of
DELETE FROM removed_messages WHERE ctid = ANY (
    ARRAY(SELECT ctid FROM removed_messages WHERE conversation = ?1 LIMIT ?2)
)

-- name: purge_removed_messages
DELETE FROM removed_messages WHERE ctid = ANY (
    ARRAY(SELECT ctid FROM removed_messages WHERE removed_at <= ?1 ORDER BY removed_at LIMIT ?2)
)

-- name: purge_removed_conversations
DELETE FROM removed_conversations WHERE ctid = ANY (
    ARRAY(
        SELECT ctid FROM removed_conversations WHERE emptied = TRUE AND removed_at <= ?1 ORDER BY removed_at LIMIT ?2
    )
)
