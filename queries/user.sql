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

-- name: DeleteUserSession :execrows
-- DeleteUserSession ends a session with a token, if it is a live one of this user. It
-- returns 1, or 0 if there was none.
DELETE FROM session_cache
WHERE sessionid = @handle
  AND audience = @audience
  AND user_id = @user_id::text
  AND secret IS NOT NULL
  AND session_endutc >= statement_timestamp();

-- name: DeleteUserSessions :many
-- DeleteUserSessions ends all sessions of a user, plain ones, too, live or expired,
-- except those of except_handles. It returns their ids, and which of them were live. It
-- also ends a session that is being renewed at the same moment, but not one that is
-- being issued. Anonymous sessions belong to no user.
--
-- (RETURNING of a distributed table allows no function of the time.)
WITH ended AS (
    DELETE FROM session_cache
    WHERE audience = @audience
      AND user_id = @user_id::text
      AND sessionid <> ALL (@except_handles::_uuid)
    RETURNING sessionid, session_endutc
)
SELECT sessionid, (session_endutc >= statement_timestamp())::boolean AS live
FROM ended;

-- name: GetIsolation :one
-- GetIsolation returns the isolation level of the transaction.
SELECT current_setting('transaction_isolation')::text AS isolation;

-- name: ListUserSessions :many
-- ListUserSessions returns the live sessions of a user, newest first, at most a thousand,
-- without plain ones. The columns are those of GetSession.
SELECT
    sessionid,
    userdict,
    coalesce(user_id, '')::text AS user_id,
    (date_part('epoch', session_startutc) * 1000000)::bigint AS created_micros,
    (date_part('epoch', session_endutc) * 1000000)::bigint AS expires_micros,
    (date_part('epoch', session_deadlineutc) * 1000000)::bigint AS deadline_micros,
    (date_part('epoch', session_usedutc) * 1000000)::bigint AS used_micros,
    coalesce(date_part('epoch', authenticatedutc) * 1000000, 0)::bigint AS authenticated_micros,
    coalesce(date_part('epoch', renewedutc) * 1000000, 0)::bigint AS renewed_micros,
    (date_part('epoch', statement_timestamp()) * 1000000)::bigint AS now_micros,
    coalesce(session_idle, 0)::bigint AS idle_micros,
    coalesce(encode(secret, 'hex'), '')::text AS secret_hex,
    coalesce(encode(family, 'hex'), '')::text AS family_hex,
    renewals,
    remembered,
    coalesce(device, '')::text AS device
FROM session_cache
WHERE audience = @audience
  AND user_id = @user_id::text
  AND authenticatedutc IS NOT NULL
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc
ORDER BY session_startutc DESC, sessionid
LIMIT 1000;

-- name: LockUser :exec
-- LockUser makes other callers for the same user wait until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('session_cache ' || @audience::text || ' ' || @user_id::text, 0));
