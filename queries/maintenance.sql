-- name: DeleteAllSessions :execrows
-- DeleteAllSessions ends every session, live or expired, and returns how many
-- there were.
DELETE FROM session_cache;

-- name: DeleteExpiredSessions :execrows
-- DeleteExpiredSessions removes up to batch_size expired sessions, oldest
-- first, and returns how many. It passes over rows that somebody else is
-- changing, so any number of callers may run it at once without waiting for
-- each other.
DELETE FROM session_cache
WHERE sessionid = ANY (ARRAY(
    SELECT expired.sessionid
    FROM session_cache AS expired
    WHERE expired.session_endutc < now()
    ORDER BY expired.session_endutc
    LIMIT @batch_size
    FOR UPDATE SKIP LOCKED
));

-- name: GetSessionStats :one
-- GetSessionStats counts the sessions by state and tells how long ago the
-- oldest expired one still stored has ended (zero when there is none).
SELECT
    count(*) FILTER (WHERE now() BETWEEN session_startutc AND session_endutc) AS live,
    count(*) FILTER (WHERE session_endutc < now()) AS expired,
    coalesce(now() - min(session_endutc) FILTER (WHERE session_endutc < now()), '0')::interval AS oldest_expired
FROM session_cache;

-- name: ReindexSessions :exec
-- ReindexSessions rebuilds the indexes without keeping anybody out of the
-- table. It cannot run inside a transaction.
REINDEX TABLE CONCURRENTLY session_cache;
