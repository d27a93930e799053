-- name: columns
c.id, c.created_at, c.updated_at, c.name, t.description, t.meta, c.bot_id, c.model, t.backstory, c.dataset_id,
c.skillset_id, c.privacy, c.moderation, c.contact_id, c.task_id, c.space_id, c.expires_at

-- name: owner
SELECT key, account, expires_at FROM conversations WHERE id = ?

-- name: fetch
SELECT {columns}, c.key, c.account
FROM conversations c LEFT JOIN conversation_texts t ON t.conversation = c.key
WHERE c.id = ?

-- name: add
INSERT INTO conversations (
    id, account, created_at, updated_at, expires_at, last_sequence, name, bot_id, model, dataset_id, skillset_id,
    privacy, moderation, contact_id, task_id, space_id
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
RETURNING key

-- name: set_texts
INSERT INTO conversation_texts (conversation, description, meta, backstory) VALUES (?, ?, ?, ?)
ON CONFLICT (conversation) DO UPDATE
SET description = excluded.description, meta = excluded.meta, backstory = excluded.backstory

-- name: update
UPDATE conversations SET
    updated_at = CASE WHEN updated_at > ?1 THEN updated_at ELSE ?1 END, expires_at = ?2, name = ?3, bot_id = ?4,
    model = ?5, dataset_id = ?6, skillset_id = ?7, privacy = ?8, moderation = ?9, contact_id = ?10, task_id = ?11,
    space_id = ?12
WHERE key = ?13

-- name: extend
UPDATE conversations SET
    last_sequence = last_sequence + ?1, updated_at = CASE WHEN updated_at > ?2 THEN updated_at ELSE ?2 END
WHERE id = ?3 AND account = ?4 AND (expires_at IS NULL OR expires_at > ?5)

-- name: delete
DELETE FROM conversations WHERE key = ?

-- name: cancel_turns
UPDATE turns SET cancel = TRUE WHERE conversation = ? AND ended_at IS NULL

-- name: delete_texts
DELETE FROM conversation_texts WHERE conversation = ?

-- name: mark_removed
INSERT INTO removed_conversations (conversation, id, account, created_at, removed_at, emptied)
VALUES (?, ?, ?, ?, ?, FALSE)

-- name: set_term
INSERT INTO conversation_terms (account, name, value, created_at, id, kinds) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (account, name, value, created_at, id) DO UPDATE SET kinds = excluded.kinds

-- name: delete_term
DELETE FROM conversation_terms WHERE account = ? AND name = ? AND value = ? AND created_at = ? AND id = ?

-- name: cursor
SELECT created_at FROM conversations WHERE id = ? AND account = ?

-- name: removed_cursor
SELECT created_at FROM removed_conversations WHERE id = ? AND account = ?

-- name: list_desc
SELECT {columns}
FROM conversations c LEFT JOIN conversation_texts t ON t.conversation = c.key
WHERE c.account = ? AND (c.created_at, c.id) < (?, ?) AND (c.expires_at IS NULL OR c.expires_at > ?)
ORDER BY c.created_at DESC, c.id DESC
LIMIT ?

-- name: list_asc
SELECT {columns}
FROM conversations c LEFT JOIN conversation_texts t ON t.conversation = c.key
WHERE c.account = ? AND (c.created_at, c.id) > (?, ?) AND (c.expires_at IS NULL OR c.expires_at > ?)
ORDER BY c.created_at, c.id
LIMIT ?

-- name: term_count
SELECT count(*) FROM (
    SELECT 1 FROM conversation_terms WHERE account = ? AND name = ? AND value = ? LIMIT ?
)

-- name: filter_desc
SELECT {columns}
FROM conversation_terms f
CROSS JOIN conversations c ON c.id = f.id
LEFT JOIN conversation_texts t ON t.conversation = c.key
WHERE f.account = ? AND f.name = ? AND f.value = ? AND (f.kinds & ?) <> 0
AND (f.created_at, f.id) < (?, ?) AND (c.expires_at IS NULL OR c.expires_at > ?) /* others */
ORDER BY f.created_at DESC, f.id DESC
LIMIT ?

-- name: filter_asc
SELECT {columns}
FROM conversation_terms f
CROSS JOIN conversations c ON c.id = f.id
LEFT JOIN conversation_texts t ON t.conversation = c.key
WHERE f.account = ? AND f.name = ? AND f.value = ? AND (f.kinds & ?) <> 0
AND (f.created_at, f.id) > (?, ?) AND (c.expires_at IS NULL OR c.expires_at > ?) /* others */
ORDER BY f.created_at, f.id
LIMIT ?

-- name: filter_other
AND EXISTS (
    SELECT 1 FROM conversation_terms o
    WHERE o.account = f.account AND o.name = ? AND o.value IN (/* values */)
    AND o.created_at = f.created_at AND o.id = f.id AND (o.kinds & ?) <> 0
)
