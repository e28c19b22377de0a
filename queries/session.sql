-- name: DeleteSession :execrows
-- DeleteSession ends a plain session, live or expired. It returns 1, or 0 if there
-- was none.
DELETE FROM session_cache
WHERE sessionid = @sessionid
  AND audience = @audience
  AND secret IS NULL;

-- name: ExtendSession :execrows
-- ExtendSession extends a live session to its idle timeout from now, but not past its
-- deadline. A NULL secret means a plain session. It returns 1, or 0 if it changes
-- nothing: the session is absent, expired or under another secret, or three quarters
-- of its timeout are left, or another transaction has locked the row. So a lookup
-- never waits, and of several calls at once one writes.
--
-- (The sum goes through UTC because adding to a timestamptz depends on the
-- connection's time zone, which a distributed table does not allow with a column.)
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
-- GetSession returns a session of either kind that has started, live or expired. The
-- caller compares the secret and checks whether the session has expired. The user's
-- id is empty for a plain session. Metadata is in hex, so that the server's
-- bytea_output does not matter. It holds:
--
--    7 x 8 bytes, each a big-endian integer:
--      start, end, deadline, and the time of this statement, in microseconds since 2000-01-01 UTC;
--      the idle timeout in microseconds, or 0;
--      the time of the last authentication, or 0;
--      the time of the last renewal, or 0;
--    32 bytes, the digest of the secret, except for a plain session;
--    32 bytes, the digest that the last renewal replaced, if there was a renewal.
--
-- (One column, because a column for each value costs server and client a fifth more.)
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
        || coalesce(secret, '')
        || coalesce(superseded, ''),
        'hex'
    )::text AS metadata
FROM session_cache
WHERE sessionid = @sessionid
  AND audience = @audience
  AND session_startutc <= statement_timestamp();

-- name: GetSessions :many
-- GetSessions is GetSession for several sessions. It returns each one once, in
-- ascending order of their ids.
--
-- (The LIMIT excludes nothing. With it the planner keeps one plan, an index scan, for
-- any number of ids. Without it the server plans each small batch again, which takes
-- longer than running it.)
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
-- InsertSession stores a plain session that starts now and ends after ttl. With an
-- idle timeout, use extends it until lifetime has passed. All three are microseconds;
-- a NULL idle means no timeout. It returns 1, or 0 if the id exists already, live or
-- expired. Then nothing has changed, and a surrounding transaction can go on.
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
-- InsertSessions stores several plain sessions, userdicts[i] under sessionids[i], and
-- returns the ids that it has stored. A missing id exists already, live or expired,
-- or is in the list twice. Concurrent callers must pass their ids in ascending order,
-- or they may deadlock.
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
-- LockSession returns the user of a live session and locks the session until the
-- transaction ends. A NULL secret means a plain session. It returns pgx.ErrNoRows if
-- the session is absent, expired or under another secret.
SELECT userdict, coalesce(user_id, '')::text AS user_id
FROM session_cache
WHERE sessionid = @sessionid
  AND audience = @audience
  AND secret IS NOT DISTINCT FROM sqlc.narg('secret')::bytea
  AND statement_timestamp() BETWEEN session_startutc AND session_endutc
FOR UPDATE;

-- name: UpdateSession :one
-- UpdateSession replaces the user of a session that has not expired, and returns the
-- new user's id. The session's times stay. A NULL secret means a plain session. It
-- returns pgx.ErrNoRows if the session is absent, expired or under another secret.
--
-- (LockSession has checked that the session has started. Here another node of a
-- distributed table, with another clock, may evaluate the time.)
UPDATE session_cache
SET userdict = @userdict::json
WHERE sessionid = @sessionid
  AND audience = @audience
  AND secret IS NOT DISTINCT FROM sqlc.narg('secret')::bytea
  AND session_endutc >= statement_timestamp()
RETURNING coalesce(user_id, '')::text AS user_id;
