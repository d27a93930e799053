-- name: now_fragment
CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)

-- name: wanted_fragment
subject = ANY (ARRAY(SELECT json_array_elements_text(?1::text::json)))
