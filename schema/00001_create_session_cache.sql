-- +goose Up

-- An existing table of this name is kept and used if the Python module rhaptos2 created
-- it. Any other table is left unchanged, and the migration fails.
-- +goose StatementBegin
DO $$
DECLARE
    existing regclass := to_regclass('session_cache');
    columns  text;
    keys     text;
BEGIN
    IF existing IS NULL THEN
        RETURN;
    END IF;
    SELECT string_agg(format('%s %s', attname, format_type(atttypid, NULL)), ', ' ORDER BY attname)
    INTO columns
    FROM pg_attribute
    WHERE attrelid = existing AND attnum > 0 AND NOT attisdropped;
    IF replace(columns, ' text', ' character varying') IS DISTINCT FROM
        'session_endutc timestamp with time zone, session_startutc timestamp with time zone, '
        'sessionid character varying, userdict character varying'
    THEN
        RAISE EXCEPTION 'the existing table % is not a session table of rhaptos2: it is left as it is', existing
            USING DETAIL = format('Its columns are: %s.', columns),
            HINT = 'Expected: sessionid and userdict of type varchar or text, session_startutc and session_endutc '
                'of type timestamp with time zone, and no others. Rename the table, or migrate another schema.';
    END IF;
    SELECT string_agg(attname, ', ')
    INTO keys
    FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
    WHERE indrelid = existing AND indisprimary;
    IF keys IS DISTINCT FROM 'sessionid' THEN
        RAISE EXCEPTION 'the existing table % has no primary key on sessionid: it is left as it is', existing
            USING DETAIL = 'One id may have several sessions, of different users.',
            HINT = 'Delete the ids that are there twice, then: ALTER TABLE session_cache ADD PRIMARY KEY (sessionid).';
    END IF;
END
$$;
-- +goose StatementEnd

CREATE TABLE IF NOT EXISTS session_cache (
    sessionid        varchar PRIMARY KEY,
    userdict         varchar,
    session_startutc timestamptz,
    session_endutc   timestamptz
);

-- +goose Down

-- Drops all sessions: everybody is logged out. They cannot be brought back.
DROP TABLE session_cache;
