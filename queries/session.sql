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
-- of its timeout are left, or another transaction has locked the row. A lookup
-- therefore never waits, and of several calls at once one writes.
--
-- (The sum goes through UTC because adding to a timestamptz depends on the
-- connection's time zone, which a distributed table does not allow with a column.)
UPDATE session_cache
SET session_usedutc = statement_timestamp(),
    session_endutc = least(
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
      FOR NO KEY UPDATE SKIP LOCKED
  ));

-- name: GetSession :one
-- GetSession returns a session of either kind that has started, live or expired, or
-- pgx.ErrNoRows. The caller compares the digest of the secret, which is empty for a plain
-- session, and checks that expires_micros is not before now_micros.
--
-- Instants (…_micros) are microseconds since 1970-01-01 UTC; 0 stands for "never".
-- now_micros is the time of this statement. idle_micros is the idle timeout in
-- microseconds; 0 means none. An empty user_id or device means none. Digests are in
-- hex, so that the server's bytea_output does not matter.
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
WHERE sessionid = ANY (@sessionids::_uuid)
  AND audience = @audience
  AND session_startutc <= statement_timestamp()
ORDER BY sessionid
LIMIT cardinality(@sessionids::_uuid);

-- name: InsertSession :execrows
-- InsertSession stores a session that starts now. It returns 1, or 0 if the session id
-- exists already, live or expired. Then nothing has changed, and a surrounding
-- transaction can go on.
--
-- The session ends after lifetime. With an idle timeout, it ends after that, and use
-- extends it until lifetime has passed; a timeout of zero means none. A plain session
-- has neither secret nor family, and none of the values that follow: an anonymous
-- session is that of a visitor who has not logged in; an empty device means no name.
INSERT INTO session_cache (
    sessionid, audience, secret, family, userdict,
    session_startutc, session_endutc, session_deadlineutc, session_idle, session_usedutc,
    authenticatedutc, remembered, device
)
VALUES (
    @sessionid,
    @audience,
    sqlc.narg('secret')::bytea,
    sqlc.narg('family')::bytea,
    @userdict::json,
    statement_timestamp(),
    statement_timestamp() + least(@lifetime::interval, nullif(@idle_timeout::interval, interval '0')),
    statement_timestamp() + @lifetime::interval,
    nullif((date_part('epoch', @idle_timeout::interval) * 1000000)::bigint, 0),
    statement_timestamp(),
    CASE WHEN sqlc.narg('secret')::bytea IS NOT NULL AND NOT @anonymous::boolean THEN statement_timestamp() END,
    @remembered::boolean,
    nullif(@device::text, '')
)
ON CONFLICT (sessionid) DO NOTHING;

-- name: InsertSessions :many
-- InsertSessions is InsertSession for several sessions: the values of one have the same
-- position in each list. An empty secret and family mean a plain session. It returns the
-- ids that it has stored. A missing id exists already, live or expired, or is in the
-- list twice. Concurrent callers must pass their ids in ascending order, or they may
-- deadlock.
INSERT INTO session_cache (
    sessionid, audience, secret, family, userdict,
    session_startutc, session_endutc, session_deadlineutc, session_idle, session_usedutc,
    authenticatedutc, remembered, device
)
SELECT
    new.sessionid,
    @audience::text,
    nullif(new.secret, ''),
    nullif(new.family, ''),
    new.userdict,
    statement_timestamp(),
    statement_timestamp() + least(new.lifetime, nullif(new.idle_timeout, interval '0')),
    statement_timestamp() + new.lifetime,
    nullif((date_part('epoch', new.idle_timeout) * 1000000)::bigint, 0),
    statement_timestamp(),
    CASE WHEN new.secret <> '' AND NOT new.anonymous THEN statement_timestamp() END,
    new.remembered,
    nullif(new.device, '')
FROM (
    SELECT
        unnest(@sessionids::_uuid) AS sessionid,
        unnest(@secrets::bytea[]) AS secret,
        unnest(@families::bytea[]) AS family,
        unnest(@userdicts::json[]) AS userdict,
        unnest(@lifetimes::interval[]) AS lifetime,
        unnest(@idle_timeouts::interval[]) AS idle_timeout,
        unnest(@anonymous::boolean[]) AS anonymous,
        unnest(@remembered::boolean[]) AS remembered,
        unnest(@devices::text[]) AS device
) AS new
ON CONFLICT (sessionid) DO NOTHING
RETURNING sessionid;

-- name: UpdateSession :one
-- UpdateSession replaces the user of a session that has not expired, if the stored text
-- of the user is still old_userdict. The session's times stay. A NULL secret means a
-- plain session. It returns pgx.ErrNoRows if the session is absent, expired, under
-- another secret, or has another user text.
--
-- It returns whether the new user may take the old one's place: a session never changes
-- its user's id, and only an anonymous session may come to name one. If not, nothing has
-- changed.
--
-- (GetSession has checked that the session has started. Here another node of a
-- distributed table, with another clock, may evaluate the time.)
UPDATE session_cache
SET userdict = CASE
        WHEN secret IS NOT NULL AND authenticatedutc IS NULL THEN @userdict::json
        WHEN coalesce(user_id, '') = coalesce(@userdict::json ->> 'user_id', '') THEN @userdict::json
        ELSE userdict
    END
WHERE sessionid = @sessionid
  AND audience = @audience
  AND secret IS NOT DISTINCT FROM sqlc.narg('secret')::bytea
  AND userdict::text = @old_userdict::text
  AND session_endutc >= statement_timestamp()
RETURNING (
    secret IS NOT NULL AND authenticatedutc IS NULL
    OR coalesce(user_id, '') = coalesce(@userdict::json ->> 'user_id', '')
)::boolean AS same_user;
