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
FROM json_array_elements(?::text::json) j JOIN LATERAL (
    SELECT account, channel, last_seq FROM channels WHERE account = j ->> 0 AND channel = j ->> 1 LIMIT 1
) c ON TRUE

-- name: full_writing
SELECT key, kept FROM channels WHERE kept > 10000 LIMIT ? FOR NO KEY UPDATE SKIP LOCKED

-- name: oldest_writing
SELECT key, count, length(data) FROM channel_messages WHERE channel = ? ORDER BY seq LIMIT ? FOR UPDATE SKIP LOCKED

-- name: aged_writing
SELECT m.key, m.channel, m.count, length(m.data)
FROM (SELECT key, at FROM channel_messages ORDER BY key LIMIT ?2) oldest
JOIN channel_messages m ON m.key = oldest.key
JOIN channels c ON c.key = m.channel
WHERE oldest.at <= ?1
FOR UPDATE OF m SKIP LOCKED
FOR NO KEY UPDATE OF c SKIP LOCKED

-- name: rows
SELECT m.seq, m.count, m.at, m.data
FROM channel_messages m
WHERE m.channel = (SELECT key FROM channels WHERE account = ? AND channel = ?) AND m.seq > ? AND m.at > ?
ORDER BY m.seq
LIMIT ?

-- name: history
SELECT min(first + CASE WHEN total > ?4 THEN total - ?4 ELSE 0 END) FROM (
    SELECT m.seq - m.count AS first, m.count AS count,
        sum(m.count) OVER (ORDER BY m.seq DESC ROWS UNBOUNDED PRECEDING) AS total
    FROM channel_messages m
    WHERE m.channel = (SELECT key FROM channels WHERE account = ?1 AND channel = ?2) AND m.at > ?3
    ORDER BY m.seq DESC
    LIMIT ?4
) newest
WHERE total - count < ?4
