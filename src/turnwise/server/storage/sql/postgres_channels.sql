-- name: reserve
INSERT INTO channels (account, channel, given_seq, last_seq, kept, used_at) VALUES (?, ?, ?, 0, 0, ?)
ON CONFLICT (account, channel) DO UPDATE
SET given_seq = channels.given_seq + excluded.given_seq, used_at = greatest(channels.used_at, excluded.used_at)
RETURNING given_seq

-- name: advance
INSERT INTO channels (account, channel, given_seq, last_seq, kept, used_at) VALUES (?1, ?2, ?3, ?3, ?3, ?4)
ON CONFLICT (account, channel) DO UPDATE
SET given_seq = channels.given_seq + excluded.given_seq, last_seq = channels.given_seq + excluded.given_seq,
    kept = channels.kept + excluded.kept, used_at = greatest(channels.used_at, excluded.used_at)
RETURNING key, last_seq

-- name: advance_to
INSERT INTO channels (account, channel, given_seq, last_seq, kept, used_at) VALUES (?1, ?2, ?3, ?3, ?4, ?5)
ON CONFLICT (account, channel) DO UPDATE
SET given_seq = greatest(channels.given_seq, excluded.given_seq),
    last_seq = greatest(channels.last_seq, excluded.last_seq),
    kept = channels.kept + excluded.kept, used_at = greatest(channels.used_at, excluded.used_at)

-- name: last_seqs
SELECT c.account, c.channel, c.last_seq
FROM json_array_elements(?::text::json) j JOIN channels c ON c.account = j ->> 0 AND c.channel = j ->> 1

-- name: full_writing
SELECT key, kept FROM channels WHERE kept > 10000 LIMIT ? FOR NO KEY UPDATE SKIP LOCKED

-- name: oldest_writing
SELECT key, count, length(data) FROM channel_messages WHERE channel = ? ORDER BY seq LIMIT ? FOR UPDATE SKIP LOCKED

-- name: aged_writing
SELECT key, channel, count, length(data) FROM (
    SELECT key, channel, count, at, data FROM channel_messages ORDER BY key LIMIT ?2 FOR UPDATE SKIP LOCKED
) oldest
WHERE at <= ?1
