-- name: DeleteAllSessions :execrows
-- DeleteAllSessions ends every session of every application, live or expired, and
-- returns how many.
DELETE FROM session_cache;

-- name: DeleteAudienceSessions :execrows
-- DeleteAudienceSessions ends every session of one application, live or expired, and
-- returns how many.
DELETE FROM session_cache
WHERE audience = @audience;

-- name: DeleteExpiredSessions :execrows
-- DeleteExpiredSessions removes up to batch_size expired sessions, oldest first, and
-- returns how many. It skips locked rows: concurrent callers do not wait for each
-- other.
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
-- DeleteExpiredSessionsUnlocked is DeleteExpiredSessions for a server that refuses
-- row locks in a query across shards. Of two concurrent callers one may wait for the
-- other, and then delete fewer rows.
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
-- GetOldestExpired returns how many microseconds ago the oldest expired session in
-- the table expired, or zero if there is none.
SELECT coalesce(date_part('epoch', statement_timestamp() - min(session_endutc)) * 1000000, 0)::bigint AS oldest_expired_micros
FROM session_cache
WHERE session_endutc < statement_timestamp();

-- name: GetSessionStats :one
-- GetSessionStats counts the live and the expired sessions. It also returns how many
-- microseconds ago the oldest expired session expired (zero if there is none), and
-- the largest number of sessions, live and expired, of one user. It reads two
-- indexes, and of the table only pages that have not been vacuumed.
SELECT
    (SELECT count(*) FROM session_cache WHERE session_endutc >= statement_timestamp()) AS live,
    (SELECT count(*) FROM session_cache WHERE session_endutc < statement_timestamp()) AS expired,
    (
        SELECT coalesce(date_part('epoch', statement_timestamp() - min(session_endutc)) * 1000000, 0)::bigint
        FROM session_cache
        WHERE session_endutc < statement_timestamp()
    ) AS oldest_expired_micros,
    (
        SELECT coalesce(max(each.sessions), 0)::bigint
        FROM (
            SELECT count(*) AS sessions
            FROM session_cache
            WHERE user_id <> ''
            GROUP BY audience, user_id
        ) AS each
    ) AS largest_user;

-- name: ReindexSessions :exec
-- ReindexSessions rebuilds the indexes while the table stays in use. It cannot run
-- inside a transaction.
REINDEX TABLE CONCURRENTLY session_cache;
