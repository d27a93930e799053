-- name: now_fragment
CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)

-- name: wanted_fragment
subject IN (SELECT value FROM json_each(?1))

-- name: store
INSERT INTO rates (subject, period, process, requests, messages, tokens, turns) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (subject, period, process) DO UPDATE
SET requests = excluded.requests, messages = excluded.messages, tokens = excluded.tokens, turns = excluded.turns

-- name: here
SELECT {now_fragment}, (SELECT count(*) FROM processes WHERE lease_until > {now_fragment})

-- name: counted
SELECT subject, period, CAST(sum(requests) AS bigint), CAST(sum(messages) AS bigint), CAST(sum(tokens) AS bigint)
FROM rates
WHERE {wanted_fragment} AND period >= ?2 AND period <= ?3 AND process <> ?4
GROUP BY subject, period

-- name: turns
SELECT subject, process, turns
FROM rates
WHERE {wanted_fragment} AND period >= ?2 AND period <= ?3 AND process <> ?4
ORDER BY period

-- name: purge
DELETE FROM rates WHERE (subject, period, process) IN (
    SELECT subject, period, process FROM rates
    WHERE period < {now_fragment} / ?1 - ?2
    ORDER BY period
    LIMIT ?3
)
