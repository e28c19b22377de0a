-- +goose Up

-- Locked, so that no untyped row is added between the deletions and the type changes
-- below.
LOCK TABLE session_cache IN ACCESS EXCLUSIVE MODE;

-- Rows whose columns cannot be those of a session: the id is not a UUID in canonical
-- form, a value is missing, the end is not after the start, or a time is infinite.
DELETE FROM session_cache
WHERE sessionid !~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$'
   OR userdict IS NULL
   OR session_startutc IS NULL
   OR session_endutc IS NULL
   OR session_endutc <= session_startutc
   OR NOT isfinite(session_startutc)
   OR NOT isfinite(session_endutc);

-- Ids that differ only in case would become one id. Nobody can tell which of them is the
-- user's, and the wrong one would give a user another user's session. So both are
-- deleted, as when an id is inserted twice.
DELETE FROM session_cache
WHERE lower(sessionid) IN (
    SELECT lower(twin.sessionid)
    FROM session_cache AS twin
    GROUP BY lower(twin.sessionid)
    HAVING count(*) > 1
);

-- Rows whose userdict is not JSON, or is JSON whose fields cannot be read (the \u0000
-- escape, a lone surrogate), or has a user_id that is too long for an index entry (2,704
-- bytes). The only way to find out is to try, until PostgreSQL 16, which has
-- pg_input_is_valid, is the oldest supported version.
-- +goose StatementBegin
DO $$
DECLARE
    session record;
BEGIN
    FOR session IN SELECT sessionid, userdict FROM session_cache LOOP
        BEGIN
            IF octet_length(session.userdict::json ->> 'user_id') > 2600 THEN
                DELETE FROM session_cache WHERE sessionid = session.sessionid;
            END IF;
        EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
            DELETE FROM session_cache WHERE sessionid = session.sessionid;
        END;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- Added first, so that the rewrite of the table below can fill it.
ALTER TABLE session_cache ADD COLUMN session_deadlineutc timestamptz;

-- An existing session becomes a plain session without an idle timeout, so its end is its
-- deadline.
ALTER TABLE session_cache
    ALTER COLUMN sessionid TYPE uuid USING sessionid::uuid,
    ALTER COLUMN userdict TYPE json USING userdict::json,
    ALTER COLUMN userdict SET NOT NULL,
    ALTER COLUMN session_startutc SET NOT NULL,
    ALTER COLUMN session_endutc SET NOT NULL,
    ALTER COLUMN session_deadlineutc TYPE timestamptz USING session_endutc,
    ALTER COLUMN session_deadlineutc SET NOT NULL,
    ADD COLUMN session_idle bigint,
    -- Collation C, here and below: an upgrade of the system's C library can change the
    -- order of other collations, and that breaks indexes built in the old order.
    ADD COLUMN audience text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN secret bytea,
    ADD COLUMN superseded bytea,
    ADD COLUMN supersededutc timestamptz,
    ADD COLUMN authenticatedutc timestamptz,
    ADD COLUMN user_id text COLLATE "C" GENERATED ALWAYS AS (userdict ->> 'user_id') STORED,
    ADD CONSTRAINT session_cache_ends_after_start CHECK (session_endutc > session_startutc),
    ADD CONSTRAINT session_cache_ends_by_deadline CHECK (session_endutc <= session_deadlineutc),
    ADD CONSTRAINT session_cache_times_are_finite CHECK (
        isfinite(session_startutc) AND isfinite(session_deadlineutc)
    ),
    ADD CONSTRAINT session_cache_user_id_fits_index CHECK (octet_length(user_id) <= 2600),
    ADD CONSTRAINT session_cache_idle_is_positive CHECK (session_idle > 0),
    ADD CONSTRAINT session_cache_secrets_are_digests CHECK (
        octet_length(secret) = 32 AND octet_length(superseded) = 32
    ),
    ADD CONSTRAINT session_cache_plain_has_no_token CHECK (
        secret IS NOT NULL OR (superseded IS NULL AND authenticatedutc IS NULL)
    ),
    ADD CONSTRAINT session_cache_superseded_has_a_time CHECK (
        (superseded IS NULL) = (supersededutc IS NULL)
    );

CREATE INDEX session_cache_session_endutc_idx ON session_cache (session_endutc);

CREATE INDEX session_cache_user_id_idx ON session_cache (user_id) WHERE user_id IS NOT NULL;

-- By default, every row lives for an hour only. So autovacuum starts at 2 % of dead or
-- inserted rows, not at 20 %, and does not pause. The free space in each page is for new
-- versions of renewed rows: a HOT update adds nothing to the indexes. No index may use
-- secret, superseded or authenticatedutc, not even in a predicate, because an update of
-- an indexed column is not HOT.
ALTER TABLE session_cache SET (
    fillfactor = 85,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

COMMENT ON TABLE session_cache IS
    'A login: who it belongs to and for how long. It is live from its start to its end, both included, by the time of the statement.';
COMMENT ON COLUMN session_cache.sessionid IS
    'Which session. It is the key to a plain session, and opens nothing of a session with a token.';
COMMENT ON COLUMN session_cache.userdict IS
    'The user as a JSON document, kept as the text it came in.';
COMMENT ON COLUMN session_cache.session_startutc IS
    'The first instant at which the session is live, by the database''s clock.';
COMMENT ON COLUMN session_cache.session_endutc IS
    'The last instant at which the session is live, by the database''s clock. Use extends it, where there is an idle timeout.';
COMMENT ON COLUMN session_cache.session_deadlineutc IS
    'The latest instant that the end can be extended to.';
COMMENT ON COLUMN session_cache.session_idle IS
    'The idle timeout in microseconds; NULL when there is none.';
COMMENT ON COLUMN session_cache.audience IS
    'The application that the session belongs to; empty for one that has the table to itself.';
COMMENT ON COLUMN session_cache.secret IS
    'The SHA-256 digest of the token that opens the session; NULL for a plain session, which its id opens.';
COMMENT ON COLUMN session_cache.superseded IS
    'The digest of the token before the last renewal, which opens nothing any more.';
COMMENT ON COLUMN session_cache.supersededutc IS
    'The time of the last renewal.';
COMMENT ON COLUMN session_cache.authenticatedutc IS
    'When the user last proved who they are; NULL for an anonymous visitor and for a plain session.';
COMMENT ON COLUMN session_cache.user_id IS
    'The user''s id, read from userdict; NULL when it has none.';

-- +goose Down

-- Brings back the untyped columns with all plain sessions. It cannot bring back the rows
-- that Up deleted, or the upper case of ids. It ends all sessions with tokens: without
-- the column secret, the id of such a session would open it.
DELETE FROM session_cache WHERE secret IS NOT NULL;

DROP INDEX session_cache_user_id_idx;

DROP INDEX session_cache_session_endutc_idx;

ALTER TABLE session_cache
    DROP CONSTRAINT session_cache_superseded_has_a_time,
    DROP CONSTRAINT session_cache_plain_has_no_token,
    DROP CONSTRAINT session_cache_secrets_are_digests,
    DROP CONSTRAINT session_cache_idle_is_positive,
    DROP CONSTRAINT session_cache_user_id_fits_index,
    DROP CONSTRAINT session_cache_times_are_finite,
    DROP CONSTRAINT session_cache_ends_by_deadline,
    DROP CONSTRAINT session_cache_ends_after_start,
    DROP COLUMN user_id,
    DROP COLUMN authenticatedutc,
    DROP COLUMN supersededutc,
    DROP COLUMN superseded,
    DROP COLUMN secret,
    DROP COLUMN audience,
    DROP COLUMN session_idle,
    DROP COLUMN session_deadlineutc,
    ALTER COLUMN session_endutc DROP NOT NULL,
    ALTER COLUMN session_startutc DROP NOT NULL,
    ALTER COLUMN userdict DROP NOT NULL,
    ALTER COLUMN userdict TYPE varchar,
    ALTER COLUMN sessionid TYPE varchar;

ALTER TABLE session_cache RESET (
    fillfactor,
    autovacuum_vacuum_scale_factor,
    autovacuum_vacuum_insert_scale_factor,
    autovacuum_analyze_scale_factor,
    autovacuum_vacuum_cost_delay
);

COMMENT ON TABLE session_cache IS NULL;
COMMENT ON COLUMN session_cache.sessionid IS NULL;
COMMENT ON COLUMN session_cache.userdict IS NULL;
COMMENT ON COLUMN session_cache.session_startutc IS NULL;
COMMENT ON COLUMN session_cache.session_endutc IS NULL;
