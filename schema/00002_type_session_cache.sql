-- +goose Up

-- Locked, so that no untyped row is added between the deletions and the type changes
-- below.
LOCK TABLE session_cache IN ACCESS EXCLUSIVE MODE;

-- Rows that cannot be sessions are dropped, each kind with a notice that says how many.
-- +goose StatementBegin
DO $$
DECLARE
    dropped bigint;
    session record;
BEGIN
    DELETE FROM session_cache
    WHERE sessionid IS NULL
       OR sessionid !~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$';
    GET DIAGNOSTICS dropped = ROW_COUNT;
    IF dropped > 0 THEN
        RAISE NOTICE 'session_cache: % rows dropped: the id is not a UUID of 36 characters', dropped;
    END IF;

    DELETE FROM session_cache
    WHERE userdict IS NULL
       OR session_startutc IS NULL
       OR session_endutc IS NULL
       OR session_endutc <= session_startutc
       OR NOT isfinite(session_startutc)
       OR NOT isfinite(session_endutc);
    GET DIAGNOSTICS dropped = ROW_COUNT;
    IF dropped > 0 THEN
        RAISE NOTICE 'session_cache: % rows dropped: a value is missing, a time is infinite, or the end is not after the start', dropped;
    END IF;

    -- Ids that differ only in case would become one id. Nobody can tell which of them is
    -- the user's, and the wrong one would give a user another user's session. Therefore
    -- both are dropped, as when an id is inserted twice.
    DELETE FROM session_cache
    WHERE lower(sessionid) IN (
        SELECT lower(twin.sessionid)
        FROM session_cache AS twin
        GROUP BY lower(twin.sessionid)
        HAVING count(*) > 1
    );
    GET DIAGNOSTICS dropped = ROW_COUNT;
    IF dropped > 0 THEN
        RAISE NOTICE 'session_cache: % rows dropped: another id differs only in case', dropped;
    END IF;

    -- The userdict is not JSON, or is JSON whose fields cannot be read (the \u0000 escape,
    -- a lone surrogate), or has a user_id that is too long for an index entry (2,704
    -- bytes). The only way to find out is to try, until PostgreSQL 16, which has
    -- pg_input_is_valid, is the oldest supported version.
    dropped := 0;
    FOR session IN SELECT sessionid, userdict FROM session_cache LOOP
        BEGIN
            CONTINUE WHEN octet_length(session.userdict::json ->> 'user_id') <= 2600
                OR session.userdict::json ->> 'user_id' IS NULL;
        EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
            NULL; -- dropped below
        END;
        DELETE FROM session_cache WHERE sessionid = session.sessionid;
        dropped := dropped + 1;
    END LOOP;
    IF dropped > 0 THEN
        RAISE NOTICE 'session_cache: % rows dropped: the userdict is not JSON that can be read, or its user_id is longer than 2,600 bytes', dropped;
    END IF;
END
$$;
-- +goose StatementEnd

-- Added first, so that the rewrite of the table below can fill it.
ALTER TABLE session_cache
    ADD COLUMN session_deadlineutc timestamptz,
    ADD COLUMN session_usedutc timestamptz;

-- An existing session becomes a plain session without an idle timeout: its end is its
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
    ALTER COLUMN session_usedutc TYPE timestamptz USING session_startutc,
    ALTER COLUMN session_usedutc SET NOT NULL,
    ALTER COLUMN session_usedutc SET DEFAULT statement_timestamp(),
    -- Collation C, here and below: an upgrade of the system's C library can change the
    -- order of other collations, and that breaks indexes built in the old order.
    ADD COLUMN audience text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN secret bytea,
    ADD COLUMN family bytea,
    ADD COLUMN renewals integer NOT NULL DEFAULT 0,
    ADD COLUMN renewedutc timestamptz,
    ADD COLUMN authenticatedutc timestamptz,
    ADD COLUMN remembered boolean NOT NULL DEFAULT false,
    ADD COLUMN device text,
    ADD COLUMN user_id text COLLATE "C" GENERATED ALWAYS AS (
        -- A visitor has proved nothing: rows that name a user are not in that user's index.
        CASE WHEN secret IS NULL OR authenticatedutc IS NOT NULL THEN userdict ->> 'user_id' END
    ) STORED,
    ADD CONSTRAINT session_cache_ends_after_start CHECK (session_endutc > session_startutc),
    ADD CONSTRAINT session_cache_ends_by_deadline CHECK (session_endutc <= session_deadlineutc),
    ADD CONSTRAINT session_cache_times_are_finite CHECK (
        isfinite(session_startutc) AND isfinite(session_deadlineutc) AND isfinite(session_usedutc)
    ),
    ADD CONSTRAINT session_cache_user_id_fits_index CHECK (octet_length(user_id) <= 2600),
    ADD CONSTRAINT session_cache_idle_is_positive CHECK (session_idle > 0),
    ADD CONSTRAINT session_cache_secrets_are_digests CHECK (
        octet_length(secret) = 32 AND octet_length(family) = 32
    ),
    ADD CONSTRAINT session_cache_secret_has_a_family CHECK ((secret IS NULL) = (family IS NULL)),
    ADD CONSTRAINT session_cache_plain_has_no_token CHECK (
        secret IS NOT NULL
        OR (renewals = 0 AND authenticatedutc IS NULL AND NOT remembered AND device IS NULL)
    ),
    ADD CONSTRAINT session_cache_renewals_have_a_time CHECK (
        renewals >= 0 AND (renewals = 0) = (renewedutc IS NULL)
    ),
    ADD CONSTRAINT session_cache_device_is_short CHECK (char_length(device) BETWEEN 1 AND 200);

CREATE INDEX session_cache_session_endutc_idx ON session_cache (session_endutc);

CREATE INDEX session_cache_user_id_idx ON session_cache (user_id) WHERE user_id IS NOT NULL;

-- By default, every row lives for an hour only. Therefore autovacuum starts at 2 % of dead or
-- inserted rows, not at 20 %, and does not pause. The free space in each page is for new
-- versions of renewed rows: a HOT update adds nothing to the indexes. No index may use
-- secret, renewals, renewedutc or authenticatedutc, not even in a predicate, because an
-- update of an indexed column is not HOT.
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
    'Which session. The id of a plain session, which is its key, or the handle of a session with a token, which gives no access.';
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
COMMENT ON COLUMN session_cache.session_usedutc IS
    'The last use that extended the session; its start when there was none.';
COMMENT ON COLUMN session_cache.audience IS
    'The application that the session belongs to; empty for one that has the table to itself.';
COMMENT ON COLUMN session_cache.secret IS
    'The SHA-256 digest of the token''s secret; NULL for a plain session.';
COMMENT ON COLUMN session_cache.family IS
    'The SHA-256 digest of the first half of the secret, which every renewal keeps; NULL for a plain session.';
COMMENT ON COLUMN session_cache.renewals IS
    'How often the token was renewed.';
COMMENT ON COLUMN session_cache.renewedutc IS
    'When the token was last renewed; NULL when it never was.';
COMMENT ON COLUMN session_cache.authenticatedutc IS
    'When the user last proved who they are; NULL for an anonymous visitor and for a plain session.';
COMMENT ON COLUMN session_cache.remembered IS
    'Whether the user asked to be remembered after the browser is closed.';
COMMENT ON COLUMN session_cache.device IS
    'What the application calls the device, at most 200 characters; NULL when it has no name.';
COMMENT ON COLUMN session_cache.user_id IS
    'The user''s id, read from userdict; NULL when it has none, and for an anonymous visitor.';

-- +goose Down

-- Brings back the untyped columns with all plain sessions. It cannot bring back the rows
-- that Up deleted, or the upper case of ids. It ends all sessions with tokens: without
-- the column secret, the id of such a session would give access.
DELETE FROM session_cache WHERE secret IS NOT NULL;

DROP INDEX session_cache_user_id_idx;

DROP INDEX session_cache_session_endutc_idx;

ALTER TABLE session_cache
    DROP CONSTRAINT session_cache_device_is_short,
    DROP CONSTRAINT session_cache_renewals_have_a_time,
    DROP CONSTRAINT session_cache_plain_has_no_token,
    DROP CONSTRAINT session_cache_secret_has_a_family,
    DROP CONSTRAINT session_cache_secrets_are_digests,
    DROP CONSTRAINT session_cache_idle_is_positive,
    DROP CONSTRAINT session_cache_user_id_fits_index,
    DROP CONSTRAINT session_cache_times_are_finite,
    DROP CONSTRAINT session_cache_ends_by_deadline,
    DROP CONSTRAINT session_cache_ends_after_start,
    DROP COLUMN user_id,
    DROP COLUMN device,
    DROP COLUMN remembered,
    DROP COLUMN authenticatedutc,
    DROP COLUMN renewedutc,
    DROP COLUMN renewals,
    DROP COLUMN family,
    DROP COLUMN secret,
    DROP COLUMN audience,
    DROP COLUMN session_usedutc,
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
