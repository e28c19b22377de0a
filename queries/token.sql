-- A session's token has a family and a number, which each renewal counts up, modulo 65,536.
-- A token of the same family with a lower number is superseded. It is one that was in
-- flight if the last renewal was a moment ago and the token is at most three renewals
-- old. Otherwise somebody kept it (RFC 9700 section 4.14.2).

-- name: DeleteSessionByHandle :execrows
-- DeleteSessionByHandle ends a session with a token, live or expired. It returns 1,
-- or 0 if there was none.
DELETE FROM session_cache
WHERE sessionid = @handle
  AND audience = @audience
  AND secret IS NOT NULL;

-- name: DeleteStolenSession :execrows
-- DeleteStolenSession ends a session of which a superseded token was kept, unless the
-- last renewal was a re-authentication: then the holder of the current token is the
-- user. It decides all of it again. Family and renewals are those of the token, grace is
-- how long after a renewal a token counts as in flight. It returns 1, or 0 if it ends
-- nothing.
DELETE FROM session_cache
WHERE sessionid = @handle
  AND audience = @audience
  AND family = @family::bytea
  AND ((renewals - @renewals::integer) & 65535) BETWEEN 1 AND least(renewals, 32767)
  AND authenticatedutc IS DISTINCT FROM renewedutc
  AND (
      ((renewals - @renewals::integer) & 65535) > 3
      OR renewedutc < statement_timestamp() - @grace::interval
  );

-- name: GetLiveSecrets :many
-- GetLiveSecrets returns those of handles that name a live session, each with the digest
-- of its secret in hex, and reads no user. The caller compares the digests.
SELECT sessionid, encode(secret, 'hex')::text AS secret_hex
FROM session_cache
WHERE sessionid = ANY (@handles::_uuid)
  AND audience = @audience
  AND secret IS NOT NULL
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc
LIMIT cardinality(@handles::_uuid);

-- name: LockSession :one
-- LockSession returns the id of the user of a live session, which is empty if there is
-- none, and locks the session until the transaction ends. It returns pgx.ErrNoRows if the
-- session is absent, expired or under another secret.
SELECT coalesce(user_id, '')::text AS user_id
FROM session_cache
WHERE sessionid = @handle
  AND audience = @audience
  AND secret = @secret::bytea
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc
FOR NO KEY UPDATE;

-- name: ReauthenticateSession :execrows
-- ReauthenticateSession is RenewSession for a user who has just authenticated again.
-- The session's lifetime and idle timeout start again. It returns 0 for an anonymous
-- session, too.
UPDATE session_cache
SET secret = @new_secret::bytea,
    renewals = renewals + 1,
    renewedutc = statement_timestamp(),
    authenticatedutc = statement_timestamp(),
    session_usedutc = statement_timestamp(),
    session_deadlineutc =
        (statement_timestamp() AT TIME ZONE 'UTC' + (session_deadlineutc - authenticatedutc)) AT TIME ZONE 'UTC',
    session_endutc = least(
        (statement_timestamp() AT TIME ZONE 'UTC' + (session_deadlineutc - authenticatedutc)) AT TIME ZONE 'UTC',
        (statement_timestamp() AT TIME ZONE 'UTC' + session_idle * interval '1 microsecond') AT TIME ZONE 'UTC'
    )
WHERE sessionid = @handle
  AND audience = @audience
  AND secret = @secret::bytea
  AND authenticatedutc IS NOT NULL
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc;

-- name: RenewSession :execrows
-- RenewSession gives a live session a new secret of the same family. The session's times
-- stay. It returns 1, or 0 if the session is absent, expired or under another secret.
UPDATE session_cache
SET secret = @new_secret::bytea,
    renewals = renewals + 1,
    renewedutc = statement_timestamp()
WHERE sessionid = @handle
  AND audience = @audience
  AND secret = @secret::bytea
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc;

-- name: RetireSession :execrows
-- RetireSession ends a live session that a login replaces. Its new secret belongs to
-- no token, therefore it logs nobody in. For the time of grace its token counts as
-- superseded, because requests with it may be in flight; then the session has
-- expired. It returns 1, or 0 if the session is absent, expired or under another
-- secret, or if its user is no longer old_userdict, unless that is NULL.
UPDATE session_cache
SET secret = @new_secret::bytea,
    renewals = renewals + 1,
    renewedutc = statement_timestamp(),
    authenticatedutc = NULL,
    session_deadlineutc = least(session_deadlineutc, statement_timestamp() + @grace::interval),
    session_endutc = least(session_endutc, statement_timestamp() + @grace::interval)
WHERE sessionid = @handle
  AND audience = @audience
  AND secret = @secret::bytea
  AND userdict::text = coalesce(sqlc.narg('old_userdict')::text, userdict::text)
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc;

-- name: RevokeSession :execrows
-- RevokeSession ends the session that a token opens, live or expired. A superseded token
-- ends it, too, unless it was kept beyond a re-authentication: then the holder of the
-- current token is the user. Family and renewals are those of the token. It returns 1, or
-- 0 if it ends nothing.
DELETE FROM session_cache
WHERE sessionid = @handle
  AND audience = @audience
  AND (
      secret = @secret::bytea
      OR family = @family::bytea
      AND ((renewals - @renewals::integer) & 65535) BETWEEN 1 AND least(renewals, 32767)
      AND (
          authenticatedutc IS DISTINCT FROM renewedutc
          OR ((renewals - @renewals::integer) & 65535) <= 3
          AND renewedutc >= statement_timestamp() - @grace::interval
      )
  );
