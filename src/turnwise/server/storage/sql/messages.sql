-- name: columns
id, type, text, created_at, updated_at, name, description, meta

-- name: add
INSERT INTO messages (conversation, sequence, id, type, created_at, updated_at, name, description, meta, text)
SELECT key, last_sequence - ?1, ?2, ?3, CASE WHEN updated_at > ?4 THEN updated_at ELSE ?4 END,
    CASE WHEN updated_at > ?5 THEN updated_at ELSE ?5 END, ?6, ?7, ?8, ?9 FROM conversations WHERE id = ?10

-- name: fetch
SELECT {columns}, sequence FROM messages WHERE conversation = ? AND id = ?

-- name: update
UPDATE messages SET type = ?, text = ?, updated_at = ?, name = ?, description = ?, meta = ?
WHERE conversation = ? AND sequence = ?

-- name: delete
DELETE FROM messages WHERE conversation = ? AND id = ? RETURNING sequence

-- name: mark_removed
INSERT INTO removed_messages (conversation, id, sequence, removed_at) VALUES (?, ?, ?, ?)

-- name: sequence
SELECT sequence FROM messages WHERE conversation = ? AND id = ?

-- name: removed_sequence
SELECT sequence FROM removed_messages WHERE conversation = ? AND id = ?

-- name: list_asc
SELECT {columns} FROM messages WHERE conversation = ? AND sequence > ? ORDER BY sequence LIMIT ?

-- name: list_desc
SELECT {columns} FROM messages WHERE conversation = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?

-- name: count
SELECT count(*) FROM messages WHERE conversation = ? AND created_at >= ? AND created_at < ?

-- name: add_used
INSERT INTO used_tokens (conversation, at, model, input_tokens, output_tokens) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (conversation, at, model) DO UPDATE
SET input_tokens = used_tokens.input_tokens + excluded.input_tokens,
    output_tokens = used_tokens.output_tokens + excluded.output_tokens

-- name: sum_used
SELECT coalesce(sum(input_tokens + output_tokens), 0) FROM used_tokens WHERE conversation = ? AND at >= ? AND at < ?

-- name: vote
INSERT INTO votes (conversation, message, at, value, reason)
SELECT ?1, ?2, ?3, ?4, ?5
WHERE NOT EXISTS (SELECT 1 FROM votes WHERE conversation = ?1 AND message = ?2 AND at > ?3 - ?6)
ON CONFLICT (conversation, message, at) DO NOTHING
