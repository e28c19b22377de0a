-- name: DeleteOldestUserSessions :many
-- DeleteOldestUserSessions ends the oldest live sessions of a user, so that the
-- newest and keep others are left. Plain and anonymous sessions do not count. It
-- returns the ids of those that it has ended.
DELETE FROM session_cache
WHERE session_cache.audience = @audience
  AND session_cache.user_id = @user_id::text
  AND session_cache.sessionid IN (
      SELECT oldest.sessionid
      FROM session_cache AS oldest
      WHERE oldest.audience = @audience
        AND oldest.user_id = @user_id::text
        AND oldest.authenticatedutc IS NOT NULL
        AND oldest.session_endutc >= statement_timestamp()
        AND oldest.sessionid <> @newest::uuid
      ORDER BY oldest.session_startutc DESC, oldest.sessionid
      OFFSET @keep::bigint
  )
RETURNING sessionid;

-- name: DeleteUserSessions :many
-- DeleteUserSessions ends all sessions of a user, of every kind, live or expired,
-- except those of except_handles, and returns their ids. It also ends a session that
-- is being renewed at the same moment, but not one that is being issued.
DELETE FROM session_cache
WHERE audience = @audience
  AND user_id = @user_id::text
  AND sessionid <> ALL (@except_handles::_uuid)
RETURNING sessionid;

-- name: GetIsolation :one
-- GetIsolation returns the isolation level of the transaction.
SELECT current_setting('transaction_isolation')::text AS isolation;

-- name: ListUserSessions :many
-- ListUserSessions returns the live sessions of a user, newest first, without plain
-- and anonymous ones. Times are microseconds since 1970, durations are microseconds.
SELECT
    sessionid,
    userdict,
    (date_part('epoch', authenticatedutc) * 1000000)::bigint AS authenticated,
    (date_part('epoch', session_startutc) * 1000000)::bigint AS created,
    (date_part('epoch', session_endutc) * 1000000)::bigint AS expires,
    (date_part('epoch', session_deadlineutc) * 1000000)::bigint AS deadline,
    (date_part('epoch', session_endutc - statement_timestamp()) * 1000000)::bigint AS ttl
FROM session_cache
WHERE audience = @audience
  AND user_id = @user_id::text
  AND authenticatedutc IS NOT NULL
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc
ORDER BY session_startutc DESC, sessionid;

-- name: LockUser :exec
-- LockUser makes other callers for the same user wait until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('session_cache ' || @audience::text || ' ' || @user_id::text, 0));
