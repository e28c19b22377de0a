package recipes_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

// tenantPool is a pool of a role that sees the rows of the context's tenant only. It has few
// connections, so that calls would share statements.
func tenantPool(t *testing.T) (admin, pool *pgxpool.Pool) {
	t.Helper()
	admin = sessiontest.NewPool(t)
	execute(t, admin, recipes.TenantsSQL)
	role := suite.NewRole(t, admin)
	execute(t, admin, `DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO `+role+`', current_schema()); END $$;
		GRANT SELECT, INSERT, UPDATE, DELETE ON session_cache TO `+role)
	config := admin.Config()
	config.ConnConfig.RuntimeParams["role"] = role
	config.MaxConns = 3
	recipes.TenantPool(config)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return admin, pool
}

func TestTenants(t *testing.T) {
	t.Parallel()
	admin, pool := tenantPool(t)
	ada := open(t, recipes.Tenants(pool, func(r *http.Request) (string, bool) {
		tenant, _, ok := strings.Cut(r.Host, ".example.com")
		return tenant, ok && (tenant == "red" || tenant == "blue")
	}))
	const red, blue = "https://red.example.com", "https://blue.example.com"

	for _, host := range []string{red, blue} {
		ada.want("GET", host+"/account", nil, http.StatusUnauthorized, "")
	}
	ada.want("GET", "https://green.example.com/account", nil, http.StatusNotFound, "")
	ada.logIn(red, "Ada")
	cookie := ada.cookie(red, "__Host-session")
	ada.want("GET", red+"/account", nil, http.StatusOK, "The account of Ada.")
	stolen := []string{"Cookie", cookie.Name + "=" + cookie.Value}
	ada.want("GET", blue+"/account", nil, http.StatusUnauthorized, "", stolen...)
	ada.another().want("GET", blue+"/account", nil, http.StatusUnauthorized, "", stolen...)
	ada.want("POST", blue+"/logout", url.Values{}, http.StatusSeeOther, "", stolen...)
	ada.want("GET", red+"/account", nil, http.StatusOK, "The account of Ada.")

	// Many at once, of both tenants, over few connections.
	ada.logIn(blue, "Grace")
	var group sync.WaitGroup
	for i := range 200 {
		host, name := red, "Ada"
		if i%2 == 0 {
			host, name = blue, "Grace"
		}
		group.Go(func() {
			if a, err := ada.try("GET", host+"/account", nil); err != nil || a.status != http.StatusOK || a.body != "The account of "+name+"." {
				t.Errorf("%s: %d, %q, %v", host, a.status, a.body, err)
			}
			if a, err := ada.another().try("GET", blue+"/account", nil, stolen...); err != nil || a.status != http.StatusUnauthorized {
				t.Errorf("the cookie of another tenant: %d, %q, %v", a.status, a.body, err)
			}
		})
	}
	group.Wait()

	// Expired sessions of one tenant, and not those of others.
	cache := sessioncache.New[recipes.Account](pool, sessioncache.WithoutBatching())
	execute(t, admin, `UPDATE session_cache SET session_startutc = now() - interval '2 h', session_endutc = now() - interval '1 h', session_deadlineutc = now() - interval '1 h'`)
	if n, err := cache.Purge(recipes.WithTenant(t.Context(), "red")); n != 1 || err != nil {
		t.Errorf("Purge in the tenant red: %d, %v; want 1", n, err)
	}
	if _, err := cache.Purge(t.Context()); !errors.Is(err, sessioncache.ErrUnavailable) {
		t.Errorf("Purge in no tenant: %v; want ErrUnavailable", err)
	}
}

// TestTenantsInOneBatch shows what the recipe avoids: without WithoutBatching a user of one
// tenant is looked for in another.
func TestTenantsInOneBatch(t *testing.T) {
	t.Parallel()
	_, pool := tenantPool(t)
	cache := sessioncache.New[recipes.Account](pool)
	red, blue := recipes.WithTenant(t.Context(), "red"), recipes.WithTenant(t.Context(), "blue")
	token, err := cache.Issue(red, recipes.Account{ID: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	wrong := make(chan string, 20_000)
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			for range 100 {
				tenant := []context.Context{red, blue}[i%2]
				if _, ok, err := cache.Authenticate(tenant, token); ok != (i%2 == 0) && err == nil {
					wrong <- fmt.Sprint(i%2, ok)
				}
			}
		})
	}
	group.Wait()
	if len(wrong) == 0 {
		t.Error("no lookup was answered in another tenant: WithoutBatching is not needed")
	}
}

// TestTenantsAreRefused: New refuses what would mix tenants up.
func TestTenantsAreRefused(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	suite.WantPanic(t, func() {
		sessioncache.New[recipes.Account](pool, sessioncache.WithoutBatching(), sessioncache.WithNearCache(100))
	})
	suite.WantPanic(t, func() { sessioncache.New[recipes.Account](struct{ *pgxpool.Pool }{pool}) })
	sessioncache.New[recipes.Account](pool, sessioncache.WithoutBatching(), sessioncache.WithNearCache(0))
}
