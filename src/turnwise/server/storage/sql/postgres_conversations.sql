-- name: owner_writing
SELECT key, account, expires_at FROM conversations WHERE id = ? FOR NO KEY UPDATE

-- name: term_count
SELECT count(*) FROM (
    SELECT 1 FROM conversation_terms WHERE account = ? AND name = ? AND value = ? LIMIT ?
) counted
