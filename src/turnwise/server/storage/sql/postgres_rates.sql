-- name: now_fragment
CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)

-- name: wanted_fragment
subject = ANY (ARRAY(SELECT json_array_elements_text(?1::text::json)))

-- name: purge
DELETE FROM rates WHERE ctid = ANY (
    ARRAY(SELECT ctid FROM rates WHERE period < {now_fragment} / ?1 - ?2 ORDER BY period LIMIT ?3)
)
