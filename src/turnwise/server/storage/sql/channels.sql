-- name: reserve
INSERT INTO channels (account, channel, given_seq, last_seq, kept, used_at) VALUES (?, ?, ?, 0, 0, ?)
ON CONFLICT (account, channel) DO UPDATE
SET given_seq = channels.given_seq + excluded.given_seq, used_at = max(used_at, excluded.used_at)
RETURNING given_seq

-- name: advance
INSERT INTO channels (account, channel, given_seq, last_seq, kept, used_at) VALUES (?1, ?2, ?3, ?3, ?3, ?4)
ON CONFLICT (account, channel) DO UPDATE
SET given_seq = channels.given_seq + excluded.given_seq, last_seq = channels.given_seq + excluded.given_seq,
    kept = channels.kept + excluded.kept, used_at = max(used_at, excluded.used_at)
RETURNING key, last_seq

-- name: advance_to
INSERT INTO channels (account, channel, given_seq, last_seq, kept, used_at) VALUES (?1, ?2, ?3, ?3, ?4, ?5)
ON CONFLICT (account, channel) DO UPDATE
SET given_seq = max(given_seq, excluded.given_seq), last_seq = max(last_seq, excluded.last_seq),
    kept = channels.kept + excluded.kept, used_at = max(used_at, excluded.used_at)

-- name: add
INSERT INTO channel_messages (channel, seq, count, at, data) VALUES (?, ?, ?, ?, ?)

-- name: add_reserved
INSERT INTO channel_messages (channel, seq, count, at, data)
SELECT key, ?3, ?4, ?5, ?6 FROM channels WHERE account = ?1 AND channel = ?2

-- name: given_seq
SELECT given_seq FROM channels WHERE account = ? AND channel = ?

-- name: last_seqs
SELECT c.account, c.channel, c.last_seq
FROM json_each(?) j CROSS JOIN channels c
ON c.account = json_extract(j.value, '$[0]') AND c.channel = json_extract(j.value, '$[1]')

-- name: rows
SELECT m.seq, m.count, m.at, m.data
FROM channels c JOIN channel_messages m ON m.channel = c.key
WHERE c.account = ? AND c.channel = ? AND m.seq > ? AND m.at > ?
ORDER BY m.seq
LIMIT ?

-- name: history
SELECT min(first + CASE WHEN total > ?4 THEN total - ?4 ELSE 0 END) FROM (
    SELECT m.seq - m.count AS first, m.count AS count,
        sum(m.count) OVER (ORDER BY m.seq DESC ROWS UNBOUNDED PRECEDING) AS total
    FROM channels c JOIN channel_messages m ON m.channel = c.key
    WHERE c.account = ?1 AND c.channel = ?2 AND m.at > ?3
    ORDER BY m.seq DESC
    LIMIT ?4
) newest
WHERE total - count < ?4

-- name: full
SELECT key, kept FROM channels WHERE kept > 10000 LIMIT ?

-- name: oldest
SELECT key, count, length(data) FROM channel_messages WHERE channel = ? ORDER BY seq LIMIT ?

-- name: aged
SELECT key, channel, count, length(data) FROM (
    SELECT key, channel, count, at, data FROM channel_messages ORDER BY key LIMIT ?2
) oldest
WHERE at <= ?1

-- name: delete
DELETE FROM channel_messages WHERE key = ?

-- name: shrink
UPDATE channels SET kept = kept - ? WHERE key = ?

-- name: forget
DELETE FROM channels WHERE kept = 0 AND used_at <= ?1 AND key IN (
    SELECT key FROM channels WHERE kept = 0 AND used_at <= ?1 ORDER BY used_at LIMIT ?2
)
