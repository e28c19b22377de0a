-- name: DeleteUserSessions :execrows
-- DeleteUserSessions ends all sessions of a user, live or expired, but the ones
-- excepted, and returns how many there were.
DELETE FROM session_cache
WHERE user_id = @user_id::text
  AND sessionid <> ALL (@except_sessionids::_uuid);

-- name: HasUserSessions :one
-- HasUserSessions tells whether a user has sessions, live or expired, beside
-- the ones excepted.
SELECT EXISTS (
    SELECT 1
    FROM session_cache
    WHERE user_id = @user_id::text
      AND sessionid <> ALL (@except_sessionids::_uuid)
);

-- name: IsDistributed :one
-- IsDistributed tells whether Citus is at work here. A statement that spans shards
-- then sees each of them at a moment of its own.
SELECT EXISTS (
    SELECT 1
    FROM pg_catalog.pg_extension
    WHERE extname = 'citus'
);

-- name: ListUserSessions :many
-- ListUserSessions returns the live sessions of a user, newest first, and how
-- much of each is left.
SELECT sessionid, session_startutc, session_endutc, (session_endutc - now())::interval AS time_left
FROM session_cache
WHERE user_id = @user_id::text
  AND now() BETWEEN session_startutc AND session_endutc
ORDER BY session_startutc DESC, sessionid;

-- name: LockSessions :exec
-- LockSessions keeps everybody from storing, changing and ending sessions until
-- the transaction is over, once those who are at it have finished. Lookups go on.
LOCK TABLE session_cache IN SHARE ROW EXCLUSIVE MODE;
