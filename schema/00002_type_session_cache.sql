-- +goose Up

-- Nobody may add an untyped row between the cleaning and the typing below.
LOCK TABLE session_cache IN ACCESS EXCLUSIVE MODE;

-- Rows that cannot be a session, by what their columns say: the id is not a
-- UUID in canonical form, a part is missing, or it ends before it begins, or
-- never.
DELETE FROM session_cache
WHERE sessionid !~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$'
   OR userdict IS NULL
   OR session_startutc IS NULL
   OR session_endutc IS NULL
   OR session_endutc <= session_startutc
   OR NOT isfinite(session_startutc)
   OR NOT isfinite(session_endutc);

-- Ids that differ only in case become one id. Which of them is the user's
-- cannot be told, and either choice could let one user in as another: both go,
-- as they do when an id is inserted twice.
DELETE FROM session_cache
WHERE lower(sessionid) IN (
    SELECT lower(twin.sessionid)
    FROM session_cache AS twin
    GROUP BY lower(twin.sessionid)
    HAVING count(*) > 1
);

-- Rows whose dict is not JSON, or is JSON that no field can be read from (the
-- \u0000 escape, a lone surrogate), or names a user too long for an index
-- entry (2,704 bytes). Only trying tells, until PostgreSQL 16 and
-- pg_input_is_valid are the oldest served.
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

ALTER TABLE session_cache
    ALTER COLUMN sessionid TYPE uuid USING sessionid::uuid,
    ALTER COLUMN userdict TYPE json USING userdict::json,
    ALTER COLUMN userdict SET NOT NULL,
    ALTER COLUMN session_startutc SET DEFAULT now(),
    ALTER COLUMN session_startutc SET NOT NULL,
    ALTER COLUMN session_endutc SET NOT NULL,
    ADD COLUMN user_id text GENERATED ALWAYS AS (userdict ->> 'user_id') STORED,
    ADD CONSTRAINT session_cache_ends_after_start CHECK (session_endutc > session_startutc),
    ADD CONSTRAINT session_cache_times_are_finite CHECK (isfinite(session_startutc) AND isfinite(session_endutc));

CREATE INDEX session_cache_session_endutc_idx ON session_cache (session_endutc);

CREATE INDEX session_cache_user_id_idx ON session_cache (user_id) WHERE user_id IS NOT NULL;

-- Every row dies within the hour: vacuum at two dead rows in a hundred, not at
-- twenty, without pausing, and count inserts the same way.
ALTER TABLE session_cache SET (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

COMMENT ON TABLE session_cache IS
    'A login: who it belongs to and for how long. It is live while now() is between its two times, both included.';
COMMENT ON COLUMN session_cache.sessionid IS
    'The session''s id, made by the application and used once.';
COMMENT ON COLUMN session_cache.userdict IS
    'The user as a JSON document, kept as the text it came in.';
COMMENT ON COLUMN session_cache.session_startutc IS
    'The first instant at which the session is live, by the database''s clock.';
COMMENT ON COLUMN session_cache.session_endutc IS
    'The last instant at which the session is live, by the database''s clock.';
COMMENT ON COLUMN session_cache.user_id IS
    'The user''s id, read from userdict; NULL when it has none.';

-- +goose Down

-- Brings back the untyped columns with every row in them. It cannot bring back
-- the rows that Up dropped, nor the upper case of an id.
DROP INDEX session_cache_user_id_idx;

DROP INDEX session_cache_session_endutc_idx;

ALTER TABLE session_cache
    DROP CONSTRAINT session_cache_times_are_finite,
    DROP CONSTRAINT session_cache_ends_after_start,
    DROP COLUMN user_id,
    ALTER COLUMN session_endutc DROP NOT NULL,
    ALTER COLUMN session_startutc DROP NOT NULL,
    ALTER COLUMN session_startutc DROP DEFAULT,
    ALTER COLUMN userdict DROP NOT NULL,
    ALTER COLUMN userdict TYPE varchar,
    ALTER COLUMN sessionid TYPE varchar;

ALTER TABLE session_cache RESET (
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
