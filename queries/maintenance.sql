-- name: DeleteAllSessions :execrows
-- DeleteAllSessions ends every session of every application, live or expired, and
-- returns how many there were.
DELETE FROM session_cache;

-- name: DeleteAudienceSessions :execrows
-- DeleteAudienceSessions ends every session of one application, live or expired,
-- and returns how many there were.
DELETE FROM session_cache
WHERE audience = @audience;

-- name: DeleteExpiredSessions :execrows
-- DeleteExpiredSessions removes up to batch_size expired sessions, oldest
-- first, and returns how many. It passes over rows that somebody else is
-- changing, so any number of callers may run it at once without waiting for
-- each other.
DELETE FROM session_cache
WHERE sessionid = ANY (ARRAY(
    SELECT expired.sessionid
    FROM session_cache AS expired
    WHERE expired.session_endutc < statement_timestamp()
      AND expired.session_deadlineutc IS NOT NULL -- refuses a table of an older version
    ORDER BY expired.session_endutc
    LIMIT @batch_size
    FOR UPDATE SKIP LOCKED
));

-- name: DeleteExpiredSessionsUnlocked :execrows
-- DeleteExpiredSessionsUnlocked is DeleteExpiredSessions for servers that refuse
-- row locks in a query that spans shards. Of two callers at once one may wait for
-- the other, find its rows gone and delete fewer.
DELETE FROM session_cache
WHERE sessionid IN (
    SELECT expired.sessionid
    FROM session_cache AS expired
    WHERE expired.session_endutc < statement_timestamp()
      AND expired.session_deadlineutc IS NOT NULL -- refuses a table of an older version
    ORDER BY expired.session_endutc
    LIMIT @batch_size
)
  AND session_endutc < statement_timestamp();

-- name: GetOldestExpired :one
-- GetOldestExpired tells how many microseconds ago the oldest expired session
-- still stored has ended, and zero when there is none.
SELECT coalesce(date_part('epoch', statement_timestamp() - min(session_endutc)) * 1000000, 0)::bigint AS oldest_expired
FROM session_cache
WHERE session_endutc < statement_timestamp();

-- name: GetSessionStats :one
-- GetSessionStats counts the sessions that have not ended and those that have,
-- and tells how many microseconds ago the oldest of these has (zero when there is
-- none) and how many the user with the most has, of both kinds. It reads two indexes, and
-- of the table only what has not been vacuumed.
SELECT
    (SELECT count(*) FROM session_cache WHERE session_endutc >= statement_timestamp()) AS live,
    (SELECT count(*) FROM session_cache WHERE session_endutc < statement_timestamp()) AS expired,
    (
        SELECT coalesce(date_part('epoch', statement_timestamp() - min(session_endutc)) * 1000000, 0)::bigint
        FROM session_cache
        WHERE session_endutc < statement_timestamp()
    ) AS oldest_expired,
    (
        SELECT coalesce(max(each.sessions), 0)::bigint
        FROM (
            SELECT count(*) AS sessions
            FROM session_cache
            WHERE user_id <> ''
            GROUP BY audience, user_id
        ) AS each
    ) AS most_of_one_user;

-- name: ReindexSessions :exec
-- ReindexSessions rebuilds the indexes without keeping anybody out of the
-- table. It cannot run inside a transaction.
REINDEX TABLE CONCURRENTLY session_cache;
