-- name: sum_used
SELECT coalesce(sum(input_tokens + output_tokens), 0)::bigint FROM used_tokens
WHERE conversation = ? AND at >= ? AND at < ?

-- name: vote
INSERT INTO votes (conversation, message, at, value, reason)
SELECT ?1::bigint, ?2::text, ?3::bigint, ?4::integer, ?5::text
WHERE NOT EXISTS (SELECT 1 FROM votes WHERE conversation = ?1 AND message = ?2 AND at > ?3::bigint - ?6::bigint)
ON CONFLICT (conversation, message, at) DO NOTHING
