-- name: now_fragment
CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)

-- name: tables
SELECT tablename FROM pg_tables WHERE schemaname = current_schema()

-- name: schema
SELECT current_schema()

-- name: size
SELECT pg_database_size(current_database())

-- name: estimated
SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = to_regclass(?)

-- name: last_number
SELECT last_value FROM pg_sequences
WHERE format('%I.%I', schemaname, sequencename) = pg_get_serial_sequence(?, 'key')

-- name: raise_number
SELECT setval(pg_get_serial_sequence(?, 'key'), ?)

-- name: make_progress
CREATE TABLE copy_progress (name TEXT COLLATE "C" NOT NULL PRIMARY KEY, copied BIGINT NOT NULL, position BYTEA)

-- name: hold
SELECT pg_advisory_xact_lock(?)

-- name: try_to_hold
SELECT pg_try_advisory_xact_lock(?)

-- name: progress_writing
SELECT name, copied, position FROM copy_progress FOR UPDATE
