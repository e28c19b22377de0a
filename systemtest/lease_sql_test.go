package systemtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/jackc/pgx/v5"
)

// leaseRawSQL ends sessions in every way there is in SQL.
func leaseRawSQL(t *testing.T) leaseEnvironment {
	// statements end all of so many sessions, on a connection of their own.
	statements := func(n int, list ...string) disturbance {
		return func(ctx context.Context, r *leaseRun) error {
			sessions := r.createHot(n, n%2 == 0)
			err := r.onConnection(ctx, func(conn *pgx.Conn) error {
				return r.endBy(list[len(list)-1], sessions, func() error { return r.execute(ctx, conn, sessions, list...) })
			})
			r.retireSoon(sessions...)
			return err
		}
	}
	all := func(statement string) disturbance {
		return func(ctx context.Context, r *leaseRun) error {
			return r.endAll(statement, func() error { return r.execute(ctx, r.admin, nil, statement) })
		}
	}
	return leaseOn(startWithTable(t, "max_prepared_transactions = 10")).inTurn(
		all("TRUNCATE session_cache"),
		all("DELETE FROM session_cache"),
		statements(3, "SET session_replication_role = replica", "DELETE FROM session_cache WHERE sessionid IN ({0}, {1}, {2})"),
		statements(3, "BEGIN", "SAVEPOINT a", "DELETE FROM session_cache WHERE sessionid = {0}", "SAVEPOINT b",
			"DELETE FROM session_cache WHERE sessionid = {1}", "ROLLBACK TO b", "SAVEPOINT c",
			"DELETE FROM session_cache WHERE sessionid IN ({1}, {2})", "RELEASE c", "RELEASE a", "COMMIT"),
		statements(2, "UPDATE session_cache SET session_endutc = now() - interval '1 second', session_startutc = now() - interval '1 hour' WHERE sessionid IN ({0}, {1})"),
		statements(2, "UPDATE session_cache SET sessionid = gen_random_uuid() WHERE sessionid IN ({0}, {1})"),
		statements(1, "UPDATE session_cache SET audience = 'another' WHERE sessionid IN ({0})"),
		statements(2, "BEGIN", "DELETE FROM session_cache WHERE sessionid IN ({0}, {1})", "PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'"),
		leaseLateCommits,
	)
}

// leaseLateCommits has transactions that began before others commit after them.
func leaseLateCommits(ctx context.Context, r *leaseRun) error {
	sessions := r.createHot(6, true)
	defer r.retireSoon(sessions...)
	var transactions []pgx.Tx
	defer func() {
		for _, tx := range transactions {
			_ = tx.Rollback(ctx) // does nothing after Commit
		}
	}()
	for _, s := range sessions {
		tx, err := r.admin.Begin(ctx)
		if err != nil {
			return err
		}
		transactions = append(transactions, tx)
		if _, err := tx.Exec(ctx, "DELETE FROM session_cache WHERE sessionid = $1", s.id); err != nil {
			return err
		}
	}
	for _, i := range rand.Perm(len(sessions)) {
		err := r.endBy("late COMMIT", sessions[i:i+1], func() error {
			return errors.Join(transactions[i].Commit(ctx), r.execute(ctx, r.admin, nil))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// leaseCascade has sessions end with the user that they refer to.
func leaseCascade(t *testing.T) leaseEnvironment {
	c := startWithTable(t)
	err := c.sql(t.Context(), `
		CREATE TABLE users (user_id text COLLATE "C" PRIMARY KEY);
		ALTER TABLE session_cache ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
		CREATE FUNCTION add_user() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO users VALUES (NEW.userdict ->> 'user_id') ON CONFLICT DO NOTHING;
			RETURN NEW;
		END $$;
		CREATE TRIGGER add_user BEFORE INSERT ON session_cache FOR EACH ROW EXECUTE FUNCTION add_user()`)
	if err != nil {
		t.Fatal(err)
	}
	env := leaseOn(c)
	env.disturb = func(ctx context.Context, r *leaseRun) error {
		sessions := append(r.createHot(5, true), r.createHot(5, false)...)
		defer r.retireSoon(sessions...)
		var users []string
		for _, s := range sessions {
			users = append(users, s.user)
		}
		return r.endBy("cascade", sessions, func() error {
			if _, err := r.admin.Exec(ctx, "DELETE FROM users WHERE user_id = ANY ($1)", users); err != nil {
				return err
			}
			return r.execute(ctx, r.admin, nil)
		})
	}
	return env
}
