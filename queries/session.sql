-- name: DeleteSession :execrows
-- DeleteSession ends a session, live or expired. It returns 1, or 0 when there
-- was none.
DELETE FROM session_cache
WHERE sessionid = @sessionid;

-- name: DeleteSessions :execrows
-- DeleteSessions ends several sessions, live or expired, and returns how many
-- there were.
DELETE FROM session_cache
WHERE sessionid = ANY (@sessionids::_uuid);

-- name: GetSession :one
-- GetSession returns the user of a live session, and pgx.ErrNoRows when the
-- session is absent or expired.
SELECT userdict
FROM session_cache
WHERE sessionid = @sessionid
  AND now() BETWEEN session_startutc AND session_endutc;

-- name: GetSessionTimes :one
-- GetSessionTimes returns what is stored of a session beside its user, of an
-- expired one too: who it belongs to, its two times, how much of it is left, and
-- whether it is live. It returns pgx.ErrNoRows when the session is absent.
SELECT
    user_id,
    session_startutc,
    session_endutc,
    (session_endutc - now())::interval AS time_left,
    (now() BETWEEN session_startutc AND session_endutc)::bool AS live
FROM session_cache
WHERE sessionid = @sessionid;

-- name: GetSessions :many
-- GetSessions returns the live ones among several sessions, each once, in
-- ascending order of their ids. (The LIMIT leaves nobody out. It has the planner
-- keep one plan for any number of ids, a walk along the index: without it the
-- server plans every small batch anew, which takes longer than running it.)
SELECT sessionid, userdict
FROM session_cache
WHERE sessionid = ANY (@sessionids::_uuid)
  AND now() BETWEEN session_startutc AND session_endutc
ORDER BY sessionid
LIMIT cardinality(@sessionids::_uuid);

-- name: InsertSession :execrows
-- InsertSession stores a session that begins now. It returns 1, or 0 when the
-- id exists already, live or expired: then nothing has changed, and a
-- transaction around it goes on.
INSERT INTO session_cache (sessionid, userdict, session_endutc)
VALUES (@sessionid, @userdict::json, now() + @duration::interval)
ON CONFLICT DO NOTHING;

-- name: InsertSessions :many
-- InsertSessions stores several sessions that begin now, userdicts[i] under
-- sessionids[i], and returns the ids it stored. An id it leaves out exists
-- already, live or expired, or came twice. Callers who run at once must all
-- pass their ids in ascending order, or they may deadlock.
INSERT INTO session_cache (sessionid, userdict, session_endutc)
SELECT unnest(@sessionids::_uuid), unnest(@userdicts::json[]), now() + @duration::interval
ON CONFLICT DO NOTHING
RETURNING sessionid;

-- name: LockSession :one
-- LockSession returns the user of a live session and keeps the session from
-- being changed or ended until the transaction is over. It returns
-- pgx.ErrNoRows when the session is absent or expired.
SELECT userdict
FROM session_cache
WHERE sessionid = @sessionid
  AND now() BETWEEN session_startutc AND session_endutc
FOR UPDATE;

-- name: RotateSession :one
-- RotateSession moves a live session to a new id, which it returns; its times
-- stay. It returns pgx.ErrNoRows when the old id is absent or expired, or the new
-- one exists already: then a live session under the old id has ended all the
-- same. (Only RETURNING tells: a distributed table counts rows that ON CONFLICT
-- has left out.)
WITH old AS (
    DELETE FROM session_cache
    WHERE session_cache.sessionid = @old_sessionid
      AND now() BETWEEN session_cache.session_startutc AND session_cache.session_endutc
    RETURNING session_cache.userdict, session_cache.session_startutc, session_cache.session_endutc
)
INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc)
SELECT @new_sessionid::uuid, old.userdict, old.session_startutc, old.session_endutc
FROM old
ON CONFLICT DO NOTHING
RETURNING sessionid;

-- name: UpdateSession :execrows
-- UpdateSession replaces the user of a session that has not ended; its times stay.
-- It returns 1, or 0 when the session is absent or expired. (Whether it has begun
-- is left to LockSession: on Citus now() is here when the transaction began, there
-- a little later, and a session may have begun in between.)
UPDATE session_cache
SET userdict = @userdict::json
WHERE sessionid = @sessionid
  AND session_endutc >= now();
