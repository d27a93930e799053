-- name: now_fragment
CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)

-- name: tables
SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'

-- name: version
SELECT version_num FROM alembic_version

-- name: set_version
UPDATE alembic_version SET version_num = ?

-- name: live
SELECT count(*) FROM processes WHERE lease_until > {now_fragment}

-- name: unfinished
SELECT state, count(*) FROM turns WHERE ended_at IS NULL GROUP BY state

-- name: signing_key
SELECT value FROM settings WHERE name = 'signing_key'

-- name: last_number
SELECT seq FROM sqlite_sequence WHERE name = ?

-- name: raise_number
UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?

-- name: begin_number
INSERT INTO sqlite_sequence (seq, name) VALUES (?, ?)

-- name: make_progress
CREATE TABLE copy_progress (name TEXT NOT NULL PRIMARY KEY, copied BIGINT NOT NULL, position BLOB)

-- name: begin_progress
INSERT INTO copy_progress (name, copied, position) VALUES (?, 0, ?)

-- name: progress
SELECT name, copied, position FROM copy_progress

-- name: move_progress
UPDATE copy_progress SET copied = copied + ?, position = ? WHERE name = ? AND copied = ?

-- name: drop_progress
DROP TABLE copy_progress
