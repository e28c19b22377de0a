-- +goose Up

-- The table as the Python module rhaptos2 created it. IF NOT EXISTS adopts an
-- existing installation in place: its rows are typed by the next migration.
CREATE TABLE IF NOT EXISTS session_cache (
    sessionid        varchar PRIMARY KEY,
    userdict         varchar,
    session_startutc timestamptz,
    session_endutc   timestamptz
);

-- +goose Down

-- Drops every session: everybody is logged out, and nothing brings them back.
DROP TABLE session_cache;
