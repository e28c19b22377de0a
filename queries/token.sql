-- name: DeleteSessionByHandle :execrows
-- DeleteSessionByHandle ends a session with a token, live or expired. It returns 1,
-- or 0 if there was none.
DELETE FROM session_cache
WHERE sessionid = @handle
  AND audience = @audience
  AND secret IS NOT NULL;

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

-- name: IssueSession :one
-- IssueSession stores a session with a token that starts now and ends after ttl, as
-- InsertSession does. It returns its user's id, which is empty if there is none. An
-- anonymous session is that of a visitor who has not logged in. It returns
-- pgx.ErrNoRows if the handle exists already. Then nothing has changed.
INSERT INTO session_cache (
    sessionid, audience, secret, userdict, session_startutc, session_endutc, session_deadlineutc,
    authenticatedutc, session_idle
)
VALUES (
    @handle,
    @audience,
    @secret::bytea,
    @userdict::json,
    statement_timestamp(),
    statement_timestamp() + interval '1 microsecond' * @ttl::bigint,
    statement_timestamp() + interval '1 microsecond' * @lifetime::bigint,
    CASE WHEN NOT @anonymous::bool THEN statement_timestamp() END,
    sqlc.narg('idle')::bigint
)
ON CONFLICT (sessionid) DO NOTHING
RETURNING coalesce(user_id, '')::text AS user_id;

-- name: ReauthenticateSession :execrows
-- ReauthenticateSession is RenewSession for a user who has just authenticated again.
-- The session's lifetime and idle timeout start again. It returns 0 for an anonymous
-- session, too.
UPDATE session_cache
SET superseded = secret,
    supersededutc = statement_timestamp(),
    secret = @new_secret::bytea,
    authenticatedutc = statement_timestamp(),
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
-- RenewSession gives a live session a new secret, and keeps the old one as
-- superseded. The session's times stay. It returns 1, or 0 if the session is absent,
-- expired or under another secret.
UPDATE session_cache
SET superseded = secret,
    supersededutc = statement_timestamp(),
    secret = @new_secret::bytea
WHERE sessionid = @handle
  AND audience = @audience
  AND secret = @secret::bytea
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc;

-- name: RetireSession :execrows
-- RetireSession ends a live session that a login replaces. Its new secret belongs to
-- no token, so it logs nobody in. For grace microseconds its token counts as
-- superseded, because requests with it may be in flight; then the session has
-- expired. It returns 1, or 0 if the session is absent, expired or under another
-- secret.
UPDATE session_cache
SET superseded = secret,
    supersededutc = statement_timestamp(),
    secret = @new_secret::bytea,
    authenticatedutc = NULL,
    session_deadlineutc = least(session_deadlineutc, statement_timestamp() + interval '1 microsecond' * @grace::bigint),
    session_endutc = least(session_endutc, statement_timestamp() + interval '1 microsecond' * @grace::bigint)
WHERE sessionid = @handle
  AND audience = @audience
  AND secret = @secret::bytea
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc;

-- name: RevokeSession :execrows
-- RevokeSession ends the session that a token opens, live or expired. A superseded
-- token ends it for grace microseconds after the renewal, because the token was in
-- flight. After that it ends it only if the renewal was no re-authentication, because
-- then nobody can tell which of the two holders of a token is the user. It returns 1,
-- or 0 if it ends nothing.
DELETE FROM session_cache
WHERE sessionid = @handle
  AND audience = @audience
  AND (
      secret = @secret::bytea
      OR superseded = @secret::bytea
      AND (
          authenticatedutc IS DISTINCT FROM supersededutc
          OR date_part('epoch', statement_timestamp() - supersededutc) * 1000000 <= @grace::bigint
      )
  );
