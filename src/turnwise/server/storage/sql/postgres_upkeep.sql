-- name: expired_writing
SELECT id FROM conversations WHERE expires_at <= ? ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED

-- name: not_emptied_writing
SELECT conversation FROM removed_conversations WHERE emptied = FALSE ORDER BY removed_at LIMIT 1 FOR UPDATE SKIP LOCKED
