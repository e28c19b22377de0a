package recipes

import (
	"context"
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// TenantsSQL has PostgreSQL keep the tenants apart (row-level security). The service's role
// must be neither a superuser nor have BYPASSRLS: they see all rows. The first statement fails
// if there are sessions, because nobody knows whose they are.
const TenantsSQL = `
ALTER TABLE session_cache ADD COLUMN tenant text NOT NULL CHECK (tenant <> '');
ALTER TABLE session_cache ALTER COLUMN tenant SET DEFAULT current_setting('app.tenant');
ALTER TABLE session_cache ENABLE ROW LEVEL SECURITY;
ALTER TABLE session_cache FORCE ROW LEVEL SECURITY; -- for the owner, too
CREATE POLICY tenants ON session_cache
	USING (tenant = current_setting('app.tenant')) WITH CHECK (tenant = current_setting('app.tenant'));`

type tenantKey struct{}

// WithTenant returns a context for one tenant's statements.
func WithTenant(ctx context.Context, tenant string) context.Context {
	return context.WithValue(ctx, tenantKey{}, tenant)
}

var errNoTenant = errors.New("the context has no tenant")

// TenantPool makes a pool name the tenant of the context to the server, whenever it hands out
// a connection. Without one it hands out none. (Behind PgBouncer in transaction mode this is
// not safe: the setting stays on a connection that another client gets.)
func TenantPool(config *pgxpool.Config) {
	config.PrepareConn = func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		tenant, _ := ctx.Value(tenantKey{}).(string)
		if tenant == "" {
			return true, errNoTenant
		}
		_, err := conn.Exec(ctx, "SELECT set_config('app.tenant', $1, false)", tenant)
		return err == nil, err
	}
}

// Tenants is a service whose pool is a TenantPool. tenantOf returns whose request it is, by
// the host for example.
//
// WithoutBatching is what makes this safe: a batch runs under the context of one of its
// callers, and would look for the sessions of all others in that tenant. A near cache would
// answer one tenant with what it keeps of another: New panics at WithNearCache with entries
// beside WithoutBatching. New also panics at a type of one's own around a pool: the tenant
// belongs in the hook. WithNearCache(0) is allowed.
//
// What has no request has no tenant: run Purge once for each tenant's context, or with a pool
// whose role has BYPASSRLS. For the same reason the context of Manager.Context ends after half
// a minute here, as in an outage.
func Tenants(pool *pgxpool.Pool, tenantOf func(r *http.Request) (string, bool)) http.Handler {
	service := pages(sessionhttp.New(sessioncache.New[Account](pool, sessioncache.WithoutBatching())))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant, ok := tenantOf(r)
		if !ok {
			http.NotFound(w, r)
			return
		}
		service.ServeHTTP(w, r.WithContext(WithTenant(r.Context(), tenant)))
	})
}
