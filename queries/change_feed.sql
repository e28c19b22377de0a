-- name: AdvanceChangeHorizon :execrows
-- AdvanceChangeHorizon moves the horizon, below which DeleteChanges deletes, to
-- transactions that ended at least ten minutes ago. It returns 1, or 0 if the horizon
-- was moved less than ten minutes ago.
--
-- (Transaction ids that this server has not reached came with a dump from another
-- server. They are replaced at once. Of two concurrent callers, the second sees the
-- row that the first has written, but has an older snapshot; so it leaves a row that
-- is newer than its statement alone.)
UPDATE session_change_state
SET horizon = CASE
        WHEN candidate <= pg_snapshot_xmin(pg_current_snapshot()) THEN candidate
        WHEN horizon <= pg_snapshot_xmin(pg_current_snapshot()) THEN horizon
        ELSE '0'::xid8
    END,
    candidate = pg_snapshot_xmin(pg_current_snapshot()),
    candidateutc = statement_timestamp()
WHERE candidateutc < statement_timestamp() - interval '10 minutes'
   OR (
       candidateutc < statement_timestamp()
       AND (
           candidate > pg_snapshot_xmin(pg_current_snapshot())
           OR horizon > pg_snapshot_xmin(pg_current_snapshot())
       )
   );

-- name: DeleteChanges :execrows
-- DeleteChanges deletes the oldest batch_size changes below the horizon, with all
-- other changes of the last of their transactions, and returns how many. It also
-- deletes up to as many changes of transactions that this server has not begun: they
-- came with a dump from another server. Call it until it returns less than
-- batch_size.
--
-- (A horizon that came with a dump does not count: AdvanceChangeHorizon replaces it.)
DELETE FROM session_change
WHERE session_change.xact = ANY (ARRAY(
    (
        SELECT oldest.xact
        FROM session_change AS oldest
        WHERE oldest.xact < (SELECT horizon FROM session_change_state WHERE horizon <= pg_snapshot_xmin(pg_current_snapshot()))
        ORDER BY oldest.xact
        LIMIT @batch_size
    )
    UNION ALL
    (
        SELECT restored.xact
        FROM session_change AS restored
        WHERE restored.xact >= pg_snapshot_xmax(pg_current_snapshot()) AND restored.xact <> pg_current_xact_id()
        ORDER BY restored.xact
        LIMIT @batch_size
    )
));

-- name: DrainNearCaches :execrows
-- DrainNearCaches makes every near cache that is in use stop for good. Changes still
-- wait for near caches until ForgetNearCaches. It returns 1, or 0 if none is in use.
UPDATE session_change_state
SET near_caches = 'draining'
WHERE near_caches = 'used';

-- name: ForgetNearCaches :execrows
-- ForgetNearCaches ends the wait of changes for near caches. Call it after
-- DrainNearCaches, when all near caches have polled or what they hold no longer
-- counts. It returns 1, or 0 if they are not being drained.
UPDATE session_change_state
SET near_caches = 'off'
WHERE near_caches = 'draining';

-- name: GetChangeFeedStats :one
-- GetChangeFeedStats returns the number of changes in the feed, their size in bytes
-- with the index, how many microseconds ago the horizon was last moved, and whether
-- near caches are in use: unused, used, draining or off.
SELECT
    (SELECT count(*) FROM session_change) AS changes,
    pg_total_relation_size('session_change'::regclass)::bigint AS bytes,
    (date_part('epoch', statement_timestamp() - candidateutc) * 1000000)::bigint AS candidate_age,
    near_caches
FROM session_change_state;

-- name: GetNearCacheUse :one
-- GetNearCacheUse tells whether a change has to wait for near caches, and whether the
-- server is in recovery.
SELECT
    (near_caches IN ('used', 'draining'))::bool AS used,
    pg_is_in_recovery()::bool AS in_recovery
FROM session_change_state;

-- name: HasChangeFeed :one
-- HasChangeFeed tells whether there is a change feed. It is asked first after the
-- feed was missing, because every other query of the feed would write an error to the
-- server's log.
SELECT (to_regclass('session_change_state') IS NOT NULL)::bool AS has_change_feed;

-- name: InsertChangeEpoch :exec
-- InsertChangeEpoch starts an epoch, unless there is one.
INSERT INTO session_change_epoch DEFAULT VALUES
ON CONFLICT DO NOTHING;

-- name: PollChanges :one
-- PollChanges returns the changes that an earlier snapshot did not show and this one
-- shows. xmax and xip are those of the snapshot in the last row that was applied. Run
-- it outside a transaction.
--
-- The row tells whether these are all changes since then. They are, if complete is
-- true, everything is false, the horizon is not past the xmin of the last row, and
-- epoch, server_start, objects and generation are as in the last row. Otherwise any
-- session may have changed. Epoch is zero if there is none: the server has recovered
-- from a crash. Objects names the database, whose copies share the rest, and the
-- versions of the tables, the triggers and their functions. Complete is true if
-- nothing shadows the tables and the triggers are as the migration made them.
-- Transaction ids are PostgreSQL's xid8.
--
-- (Every plan reads the tables in this order. The epoch comes first because the down
-- migration drops it first: a poll that waits for that lock must hold no other. There
-- are two branches because a generic plan scans the whole table for one condition
-- with OR. The parameters are in subqueries because the server would otherwise choose
-- custom plans, and planning takes three times as long as the poll.)
WITH epoch AS MATERIALIZED (
    SELECT session_change_epoch.epoch FROM session_change_epoch
), state AS MATERIALIZED (
    SELECT near_caches, generation, horizon FROM session_change_state
), change AS MATERIALIZED (
    (
        SELECT sessionid
        FROM session_change
        WHERE xact >= (SELECT (@xmax::bigint)::text::xid8)
        ORDER BY xact
        LIMIT 10001
    )
    UNION ALL
    (
        SELECT sessionid
        FROM session_change
        WHERE xact = ANY (ARRAY(SELECT unnest((@xip::bigint[])::text[]::xid8[])))
        ORDER BY xact
        LIMIT 10001
    )
), changes AS MATERIALIZED (
    SELECT
        count(*) > 10000 OR count(*) > count(sessionid) AS everything,
        array_agg(sessionid) AS sessionids
    FROM change
), relation AS MATERIALIZED (
    SELECT
        string_agg(pg_class.oid::text, ' ' ORDER BY pg_class.oid) AS objects,
        count(*) = 4
            AND count(DISTINCT relnamespace) = 1
            AND bool_and(relkind = 'r' AND relpersistence <> 't' AND NOT relrowsecurity)
            AND NOT EXISTS (
                SELECT 1 FROM pg_catalog.pg_inherits
                WHERE inhrelid = 'session_cache'::regclass OR inhparent = 'session_cache'::regclass
            ) AS complete
    FROM pg_catalog.pg_class
    WHERE pg_class.oid IN (
        'session_cache'::regclass, 'session_change'::regclass,
        'session_change_epoch'::regclass, 'session_change_state'::regclass
    )
), made (relation, name, enabled, type) AS (
    VALUES
        ('session_cache'::regclass, 'session_cache_deleted', 'A', 8),
        ('session_cache'::regclass, 'session_cache_updated', 'A', 16),
        ('session_cache'::regclass, 'session_cache_truncated', 'A', 32),
        ('session_cache'::regclass, 'session_cache_row_deleted', 'R', 9),
        ('session_cache'::regclass, 'session_cache_row_updated', 'R', 17),
        ('session_change'::regclass, 'session_change_refuse_truncate', 'A', 34)
), hook AS MATERIALIZED (
    SELECT
        string_agg(
            concat_ws(' ', pg_trigger.oid, pg_trigger.xmin, tgenabled, pg_proc.oid, pg_proc.xmin), ' '
            ORDER BY pg_trigger.oid
        ) AS objects,
        count(*) FILTER (
            WHERE tgenabled = made.enabled::"char" AND tgtype = made.type AND tgqual IS NULL AND proname = made.name
        ) = 6 AS complete
    FROM made
        JOIN pg_catalog.pg_trigger ON tgrelid = made.relation AND tgname = made.name
        JOIN pg_catalog.pg_proc ON pg_proc.oid = tgfoid
), database AS MATERIALIZED (
    SELECT pg_database.oid::text AS oid FROM pg_catalog.pg_database WHERE datname = current_database()
)
SELECT
    coalesce((SELECT epoch.epoch FROM epoch), '00000000-0000-0000-0000-000000000000')::uuid AS epoch,
    (date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint AS server_start,
    pg_is_in_recovery()::bool AS in_recovery,
    concat_ws(' ', database.oid, relation.objects, hook.objects)::text AS objects,
    (relation.complete AND hook.complete)::bool AS complete,
    state.near_caches::text AS near_caches,
    coalesce(state.generation, '00000000-0000-0000-0000-000000000000')::uuid AS generation,
    state.horizon::text::bigint AS horizon,
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax,
    (ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot())))::text[]::bigint[] AS xip,
    changes.everything::bool AS everything,
    (CASE WHEN changes.sessionids IS NULL OR changes.everything THEN '{}' ELSE changes.sessionids END)::_uuid AS sessionids
FROM state, changes, relation, hook, database;

-- name: RegisterNearCache :execrows
-- RegisterNearCache records that near caches are in use. From its commit on, every
-- change waits for them. It returns 1, or 0 if they are already in use or being
-- drained, or have been turned off and again is false.
UPDATE session_change_state
SET near_caches = 'used', generation = gen_random_uuid()
WHERE near_caches = 'unused'
   OR (near_caches = 'off' AND @again::bool);
