-- name: DeleteSession :execrows
-- DeleteSession ends a plain session, live or expired. It returns 1, or 0 when
-- there was none.
DELETE FROM session_cache
WHERE sessionid = @sessionid
  AND audience = @audience
  AND secret IS NULL;

-- name: ExtendSession :execrows
-- ExtendSession extends a live session to its idle timeout from now, but never
-- past its deadline. A NULL secret means a plain session. It returns 1, or 0 when
-- the session is absent, expired or under another secret, when three quarters of its
-- timeout are left, or when somebody else holds the row: a lookup waits for nobody,
-- and of several who call it at once, one writes. (The sum goes through UTC because
-- adding to a timestamptz asks the session's time zone, which a distributed table
-- refuses to do with a column.)
UPDATE session_cache
SET session_endutc = least(
    session_deadlineutc,
    (statement_timestamp() AT TIME ZONE 'UTC' + session_idle * interval '1 microsecond') AT TIME ZONE 'UTC'
)
WHERE session_cache.sessionid = @sessionid
  AND session_cache.sessionid = ANY (ARRAY(
      SELECT used.sessionid
      FROM session_cache AS used
      WHERE used.sessionid = @sessionid
        AND used.audience = @audience
        AND used.secret IS NOT DISTINCT FROM sqlc.narg('secret')::bytea
        AND statement_timestamp() BETWEEN used.session_startutc AND used.session_endutc
        AND used.session_endutc < used.session_deadlineutc
        AND date_part('epoch', used.session_endutc - statement_timestamp()) * 1000000 < used.session_idle * 0.75
      FOR UPDATE SKIP LOCKED
  ));

-- name: GetSession :one
-- GetSession returns a session of either kind that has begun, an expired one,
-- too. Whoever asked for it compares the secret and looks whether it has expired. The
-- user's id is empty for a plain session. Metadata is in hex, so that it comes as it is
-- whatever the server's bytea_output is:
--   8 × 8 bytes, each a big-endian integer: start, end, deadline and the time of this
--   statement, in microseconds since 2000-01-01 UTC; the idle timeout in microseconds,
--   0 without one; when the user last proved who they are and when the token was last
--   renewed, 0 where there is none; when the server was started, 0 on a standby;
--   32 bytes, the digest of the secret, not for a plain session;
--   32 bytes, the digest before the last renewal, only if there was one.
-- (In one column: a session that is looked up costs the server and the client a fifth
-- less than with a column for each, converted by date_part.)
SELECT
    sessionid,
    userdict,
    coalesce(CASE WHEN secret IS NOT NULL THEN user_id END, '')::text AS user_id,
    encode(
        timestamptz_send(session_startutc)
        || timestamptz_send(session_endutc)
        || timestamptz_send(session_deadlineutc)
        || timestamptz_send(statement_timestamp())
        || int8send(coalesce(session_idle, 0))
        || coalesce(timestamptz_send(authenticatedutc), int8send(0))
        || coalesce(timestamptz_send(supersededutc), int8send(0))
        || CASE WHEN pg_is_in_recovery() THEN int8send(0) ELSE timestamptz_send(pg_postmaster_start_time()) END
        || coalesce(secret, '')
        || coalesce(superseded, ''),
        'hex'
    )::text AS metadata
FROM session_cache
WHERE sessionid = @sessionid
  AND audience = @audience
  AND session_startutc <= statement_timestamp();

-- name: GetSessions :many
-- GetSessions is GetSession for several sessions. It returns each once, in
-- ascending order of their ids. (The LIMIT leaves nobody out. It has the planner
-- keep one plan for any number of ids, a walk along the index: without it the
-- server plans every small batch anew, which takes longer than running it.)
SELECT
    sessionid,
    userdict,
    coalesce(CASE WHEN secret IS NOT NULL THEN user_id END, '')::text AS user_id,
    encode(
        timestamptz_send(session_startutc)
        || timestamptz_send(session_endutc)
        || timestamptz_send(session_deadlineutc)
        || timestamptz_send(statement_timestamp())
        || int8send(coalesce(session_idle, 0))
        || coalesce(timestamptz_send(authenticatedutc), int8send(0))
        || coalesce(timestamptz_send(supersededutc), int8send(0))
        || CASE WHEN pg_is_in_recovery() THEN int8send(0) ELSE timestamptz_send(pg_postmaster_start_time()) END
        || coalesce(secret, '')
        || coalesce(superseded, ''),
        'hex'
    )::text AS metadata
FROM session_cache
WHERE sessionid = ANY (@sessionids::_uuid)
  AND audience = @audience
  AND session_startutc <= statement_timestamp()
ORDER BY sessionid
LIMIT cardinality(@sessionids::_uuid);

-- name: InsertSession :execrows
-- InsertSession stores a plain session that begins now and ends after ttl; with an
-- idle timeout, use extends it until it has lived for lifetime. All three are
-- microseconds, and a NULL idle is no timeout. It returns 1, or 0 when the id exists
-- already, live or expired: then nothing has changed, and a transaction around it
-- goes on.
INSERT INTO session_cache (
    sessionid, audience, userdict, session_startutc, session_endutc, session_deadlineutc, session_idle
)
VALUES (
    @sessionid,
    @audience,
    @userdict::json,
    statement_timestamp(),
    statement_timestamp() + interval '1 microsecond' * @ttl::bigint,
    statement_timestamp() + interval '1 microsecond' * @lifetime::bigint,
    sqlc.narg('idle')::bigint
)
ON CONFLICT (sessionid) DO NOTHING;

-- name: InsertSessions :many
-- InsertSessions stores several plain sessions, userdicts[i] under sessionids[i],
-- and returns the ids it stored. An id it leaves out exists already, live or
-- expired, or came twice. Callers who run at once must all pass their ids in
-- ascending order, or they may deadlock.
INSERT INTO session_cache (
    sessionid, audience, userdict, session_startutc, session_endutc, session_deadlineutc, session_idle
)
SELECT
    unnest(@sessionids::_uuid),
    @audience::text,
    unnest(@userdicts::json[]),
    statement_timestamp(),
    statement_timestamp() + interval '1 microsecond' * @ttl::bigint,
    statement_timestamp() + interval '1 microsecond' * @lifetime::bigint,
    sqlc.narg('idle')::bigint
ON CONFLICT (sessionid) DO NOTHING
RETURNING sessionid;

-- name: LockSession :one
-- LockSession returns the user of a live session and keeps the session from
-- being changed or ended until the transaction is over. A NULL secret means a
-- plain session. It returns pgx.ErrNoRows when the session is absent, expired or
-- under another secret.
SELECT userdict, coalesce(user_id, '')::text AS user_id
FROM session_cache
WHERE sessionid = @sessionid
  AND audience = @audience
  AND secret IS NOT DISTINCT FROM sqlc.narg('secret')::bytea
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc
FOR UPDATE;

-- name: UpdateSession :one
-- UpdateSession replaces the user of a session that has not ended, and returns
-- the new user's id; the session's times stay. A NULL secret means a plain session.
-- It returns pgx.ErrNoRows when the session is absent, expired or under another
-- secret. (Whether it has begun is left to LockSession: the nodes of a distributed
-- table have clocks of their own.)
UPDATE session_cache
SET userdict = @userdict::json
WHERE sessionid = @sessionid
  AND audience = @audience
  AND secret IS NOT DISTINCT FROM sqlc.narg('secret')::bytea
  AND session_endutc >= statement_timestamp()
RETURNING coalesce(user_id, '')::text AS user_id;
