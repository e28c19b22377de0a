-- +goose Up

CREATE TABLE session_change (
    xact      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    sessionid uuid
);

CREATE INDEX session_change_xact_idx ON session_change (xact);

-- Rows are added in order and removed in order, within minutes. So autovacuum starts
-- early and does not pause.
ALTER TABLE session_change SET (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

-- Unlogged: crash recovery and the promotion of a standby empty the table, because
-- transaction ids may then be used again. On a standby it cannot be read.
CREATE UNLOGGED TABLE session_change_epoch (
    one_row boolean PRIMARY KEY DEFAULT true CONSTRAINT session_change_epoch_is_one_row CHECK (one_row),
    epoch   uuid NOT NULL DEFAULT gen_random_uuid()
);

CREATE TABLE session_change_state (
    one_row      boolean PRIMARY KEY DEFAULT true CONSTRAINT session_change_state_is_one_row CHECK (one_row),
    horizon      xid8 NOT NULL DEFAULT '0',
    candidate    xid8 NOT NULL,
    candidateutc timestamptz NOT NULL,
    near_caches  text NOT NULL DEFAULT 'unused' CONSTRAINT session_change_state_near_caches_is_known CHECK (
        near_caches IN ('unused', 'used', 'draining', 'off')
    ),
    generation   uuid
);

INSERT INTO session_change_state (candidate, candidateutc)
VALUES (pg_snapshot_xmin(pg_current_snapshot()), statement_timestamp());

-- Every role that changes sessions reads here whether near caches are in use.
GRANT SELECT ON session_change_state TO PUBLIC;

-- The triggers. Their functions run with the rights of their owner, so every name and
-- operator in them has its schema: with any search_path of a caller, none of the caller's
-- own functions or operators is called. (SET search_path at the function would do the
-- same, but costs more than all the rest of it.) For the same reason they do not use IN,
-- BETWEEN and IS DISTINCT FROM, whose operator cannot have a schema.
-- +goose StatementBegin
DO $$
DECLARE
    place text;
    other text;
    made  text;
BEGIN
    SELECT nspname INTO place
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = 'session_cache'::regclass;
    SELECT string_agg(DISTINCT nspname, ', ') INTO other
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid IN ('session_change'::regclass, 'session_change_epoch'::regclass, 'session_change_state'::regclass)
      AND nspname <> place;
    IF other IS NOT NULL THEN
        RAISE EXCEPTION 'session_cache is in schema %, but new tables are made in %', place, other
            USING HINT = format('Migrate with a search_path that begins with %I.', place);
    END IF;

    -- A session in memory expires by itself, so the deletion of one that expired long ago
    -- is not written. The minute is for clocks that differ. If more than 1,000 sessions
    -- are deleted, the rest is one row with NULL, which means any session. (Counting
    -- first, to write only that row, makes a logout cost 1.5 times as much.)
    EXECUTE format($create$
        CREATE FUNCTION %1$I.session_cache_deleted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $function$
        DECLARE
            written pg_catalog.int8;
        BEGIN
            INSERT INTO %1$I.session_change (sessionid)
            SELECT gone.sessionid
            FROM gone
            WHERE gone.session_endutc OPERATOR(pg_catalog.>=)
                (pg_catalog.statement_timestamp() OPERATOR(pg_catalog.-) '1 minute'::pg_catalog.interval)
            LIMIT 1001;
            GET DIAGNOSTICS written = ROW_COUNT;
            IF written OPERATOR(pg_catalog.>) 1000 THEN
                INSERT INTO %1$I.session_change (sessionid) VALUES (NULL);
            END IF;
            RETURN NULL;
        END
        $function$
    $create$, place);

    -- A later end makes nothing in memory wrong, even if it revives a session: the end in
    -- memory is one that the session once had, and every change to an earlier end is
    -- written. FULL JOIN, because it never becomes a nested loop: the plan is made when
    -- the first row is updated, and kept for an update of a million rows. The columns are
    -- compared as a record, all but session_endutc: json has no operator =, and a record
    -- is compared as it is stored.
    EXECUTE format($create$
        CREATE FUNCTION %1$I.session_cache_updated() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $function$
        DECLARE
            written pg_catalog.int8;
        BEGIN
            INSERT INTO %1$I.session_change (sessionid)
            SELECT coalesce(o.sessionid, n.sessionid)
            FROM (
                    SELECT sessionid, session_endutc, ROW(
                        userdict, session_startutc, session_deadlineutc, session_idle, audience,
                        secret, superseded, supersededutc, authenticatedutc, user_id
                    ) AS rest
                    FROM old_rows
                ) AS o
                FULL JOIN (
                    SELECT sessionid, session_endutc, ROW(
                        userdict, session_startutc, session_deadlineutc, session_idle, audience,
                        secret, superseded, supersededutc, authenticatedutc, user_id
                    ) AS rest
                    FROM new_rows
                ) AS n ON o.sessionid OPERATOR(pg_catalog.=) n.sessionid
            WHERE o.sessionid IS NULL
               OR n.sessionid IS NULL
               OR n.session_endutc OPERATOR(pg_catalog.<) o.session_endutc
               OR o.rest OPERATOR(pg_catalog.*<>) n.rest
            LIMIT 1001;
            GET DIAGNOSTICS written = ROW_COUNT;
            IF written OPERATOR(pg_catalog.>) 1000 THEN
                INSERT INTO %1$I.session_change (sessionid) VALUES (NULL);
            END IF;
            RETURN NULL;
        END
        $function$
    $create$, place);

    EXECUTE format($create$
        CREATE FUNCTION %1$I.session_cache_truncated() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $function$
        BEGIN
            INSERT INTO %1$I.session_change (sessionid) VALUES (NULL);
            RETURN NULL;
        END
        $function$
    $create$, place);

    -- The same for rows that a logical replication subscription applies. They fire no
    -- statement triggers.
    EXECUTE format($create$
        CREATE FUNCTION %1$I.session_cache_row_deleted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $function$
        BEGIN
            IF OLD.session_endutc OPERATOR(pg_catalog.>=)
                (pg_catalog.statement_timestamp() OPERATOR(pg_catalog.-) '1 minute'::pg_catalog.interval)
            THEN
                INSERT INTO %1$I.session_change (sessionid) VALUES (OLD.sessionid);
            END IF;
            RETURN NULL;
        END
        $function$
    $create$, place);
    EXECUTE format($create$
        CREATE FUNCTION %1$I.session_cache_row_updated() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $function$
        BEGIN
            IF NEW.session_endutc OPERATOR(pg_catalog.>) OLD.session_endutc THEN
                OLD.session_endutc := NEW.session_endutc;
            END IF;
            IF OLD OPERATOR(pg_catalog.*<>) NEW THEN
                INSERT INTO %1$I.session_change (sessionid) VALUES (OLD.sessionid);
                IF OLD.sessionid OPERATOR(pg_catalog.<>) NEW.sessionid THEN
                    INSERT INTO %1$I.session_change (sessionid) VALUES (NEW.sessionid);
                END IF;
            END IF;
            RETURN NULL;
        END
        $function$
    $create$, place);

    -- An empty feed would look like one without changes.
    EXECUTE format($create$
        CREATE FUNCTION %1$I.session_change_refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $function$
        BEGIN
            RAISE EXCEPTION 'session_change must not be truncated: near caches would miss the changes in it'
                USING HINT = 'Old changes are purged. To start over, migrate down to version 2 and up again.';
        END
        $function$
    $create$, place);

    FOREACH made IN ARRAY ARRAY[
        'session_cache_deleted', 'session_cache_updated', 'session_cache_truncated',
        'session_cache_row_deleted', 'session_cache_row_updated', 'session_change_refuse_truncate'
    ] LOOP
        -- No other role may use them for triggers on its own tables. Firing a trigger
        -- needs no right.
        EXECUTE format('REVOKE ALL ON FUNCTION %I.%I() FROM PUBLIC', place, made);
    END LOOP;

    EXECUTE format($create$
        CREATE TRIGGER session_cache_deleted AFTER DELETE ON %1$I.session_cache
            REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION %1$I.session_cache_deleted();
        CREATE TRIGGER session_cache_updated AFTER UPDATE ON %1$I.session_cache
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION %1$I.session_cache_updated();
        CREATE TRIGGER session_cache_truncated AFTER TRUNCATE ON %1$I.session_cache
            FOR EACH STATEMENT EXECUTE FUNCTION %1$I.session_cache_truncated();
        CREATE TRIGGER session_cache_row_deleted AFTER DELETE ON %1$I.session_cache
            FOR EACH ROW EXECUTE FUNCTION %1$I.session_cache_row_deleted();
        CREATE TRIGGER session_cache_row_updated AFTER UPDATE ON %1$I.session_cache
            FOR EACH ROW EXECUTE FUNCTION %1$I.session_cache_row_updated();
        CREATE TRIGGER session_change_refuse_truncate BEFORE TRUNCATE ON %1$I.session_change
            FOR EACH STATEMENT EXECUTE FUNCTION %1$I.session_change_refuse_truncate();
        ALTER TABLE %1$I.session_cache
            ENABLE ALWAYS TRIGGER session_cache_deleted,
            ENABLE ALWAYS TRIGGER session_cache_updated,
            ENABLE ALWAYS TRIGGER session_cache_truncated,
            ENABLE REPLICA TRIGGER session_cache_row_deleted,
            ENABLE REPLICA TRIGGER session_cache_row_updated;
        ALTER TABLE %1$I.session_change ENABLE ALWAYS TRIGGER session_change_refuse_truncate;
    $create$, place);
END
$$;
-- +goose StatementEnd

COMMENT ON TABLE session_change IS
    'The change feed: which sessions were changed or ended, by which transaction. Triggers on session_cache write it with their owner''s rights; a role that runs a near cache needs SELECT.';
COMMENT ON COLUMN session_change.xact IS
    'The transaction that made the change.';
COMMENT ON COLUMN session_change.sessionid IS
    'The session that it changed or ended; NULL when it may be any.';
COMMENT ON TABLE session_change_epoch IS
    'One row at most, with an id for the time since the server last recovered from a crash or was promoted. A role that runs a near cache needs SELECT and INSERT.';
COMMENT ON COLUMN session_change_epoch.one_row IS
    'True: there is one row at most.';
COMMENT ON COLUMN session_change_epoch.epoch IS
    'A random id.';
COMMENT ON TABLE session_change_state IS
    'One row: how far the change feed is purged, and whether near caches are in use. A role that runs a near cache needs SELECT and UPDATE.';
COMMENT ON COLUMN session_change_state.one_row IS
    'True: there is one row.';
COMMENT ON COLUMN session_change_state.horizon IS
    'Changes of transactions before this one may have been purged.';
COMMENT ON COLUMN session_change_state.candidate IS
    'The next horizon.';
COMMENT ON COLUMN session_change_state.candidateutc IS
    'When the candidate was the oldest transaction under way, by the database''s clock.';
COMMENT ON COLUMN session_change_state.near_caches IS
    'Whether changes have to wait for near caches: unused, used, draining (near caches are being turned off) or off.';
COMMENT ON COLUMN session_change_state.generation IS
    'A random id for the time since near caches were last turned on; NULL until they first are.';

-- +goose Down

-- Near caches stop, and the setting whether they were turned off is lost. No session is
-- lost.
--
-- All of it is one transaction, in this order. Dropping session_change_epoch first takes
-- a lock that every poll needs: no poll is running then, and none can start. Near caches
-- use the result of their last poll for 200 ms. So none uses it any more when the first
-- change is made without a trigger.
DROP TABLE session_change_epoch;

SELECT pg_sleep(0.3);

DROP TRIGGER session_cache_row_updated ON session_cache;
DROP TRIGGER session_cache_row_deleted ON session_cache;
DROP TRIGGER session_cache_truncated ON session_cache;
DROP TRIGGER session_cache_updated ON session_cache;
DROP TRIGGER session_cache_deleted ON session_cache;
DROP TRIGGER session_change_refuse_truncate ON session_change;

DROP FUNCTION session_cache_row_updated();
DROP FUNCTION session_cache_row_deleted();
DROP FUNCTION session_cache_truncated();
DROP FUNCTION session_cache_updated();
DROP FUNCTION session_cache_deleted();
DROP FUNCTION session_change_refuse_truncate();

DROP TABLE session_change;
DROP TABLE session_change_state;
