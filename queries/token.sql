-- name: DeleteSessionByHandle :execrows
-- DeleteSessionByHandle ends a session with a token, live or expired. It returns
-- 1, or 0 when there was none.
DELETE FROM session_cache
WHERE sessionid = @handle
  AND audience = @audience
  AND secret IS NOT NULL;

-- name: IssueSession :one
-- IssueSession stores a session with a token that begins now and ends after ttl, as
-- InsertSession does, and returns its user's id, empty when there is none. An
-- anonymous session is one of a visitor who has not proved who they are. It returns
-- pgx.ErrNoRows when the handle exists already: then nothing has changed.
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
-- ReauthenticateSession is RenewSession for a user who has just proved again who they
-- are: the session lives as long as it did from that proof the last time. It returns
-- 0 for an anonymous session, too, which has had none.
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
-- RenewSession gives a live session a new secret; the old one is superseded from
-- then on. Its times stay. It returns 1, or 0 when the session is absent, expired or
-- under another secret.
UPDATE session_cache
SET superseded = secret,
    supersededutc = statement_timestamp(),
    secret = @new_secret::bytea
WHERE sessionid = @handle
  AND audience = @audience
  AND secret = @secret::bytea
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc;

-- name: RetireSession :execrows
-- RetireSession ends a live session that a login has taken the place of. Nobody has
-- its new secret, and no user is logged in by it. For some microseconds of grace its
-- token counts as superseded, because requests with it may be in flight; then the
-- session has expired. It returns 1, or 0 when the session is absent, expired or under
-- another secret.
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
-- token ends it, too: for some microseconds of grace after the renewal, because it
-- was in flight; and later if the renewal was no re-authentication, because then
-- nobody can tell which of the two who have a token is the user. It returns 1, or 0
-- when there was nothing to end.
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
