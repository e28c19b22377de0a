-- name: ExtendSession :execrows
-- ExtendSession puts off the end of a live session to idle_timeout from now, but
-- never past duration from its start. It returns 1, or 0 when the session is
-- absent or expired, or has extend_below or more left already: of several who
-- call it at once, one writes. (The start goes through UTC because adding to a
-- timestamptz asks the session's time zone, which a distributed table refuses to
-- do with a column.)
UPDATE session_cache
SET session_endutc = least(
    now() + @idle_timeout::interval,
    (session_startutc AT TIME ZONE 'UTC' + @duration::interval) AT TIME ZONE 'UTC'
)
WHERE sessionid = @sessionid
  AND now() BETWEEN session_startutc AND session_endutc
  AND session_endutc < least(
      now() + @extend_below::interval,
      (session_startutc AT TIME ZONE 'UTC' + @duration::interval) AT TIME ZONE 'UTC'
  );

-- name: GetIdleSession :one
-- GetIdleSession is GetSession for sessions with an idle timeout. It also tells
-- whether it is time for ExtendSession: less than extend_below is left, and not
-- because duration ends it.
SELECT
    userdict,
    (session_endutc < least(now() + @extend_below::interval, session_startutc + @duration::interval))::bool AS extend
FROM session_cache
WHERE sessionid = @sessionid
  AND now() BETWEEN session_startutc AND session_endutc;

-- name: GetIdleSessions :many
-- GetIdleSessions is GetSessions for sessions with an idle timeout.
SELECT
    sessionid,
    userdict,
    (session_endutc < least(now() + @extend_below::interval, session_startutc + @duration::interval))::bool AS extend
FROM session_cache
WHERE sessionid = ANY (@sessionids::_uuid)
  AND now() BETWEEN session_startutc AND session_endutc
ORDER BY sessionid
LIMIT cardinality(@sessionids::_uuid);
