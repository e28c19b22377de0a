package sessionhttptest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp/sessionhttptest"
)

type account struct {
	ID     string `json:"user_id"`
	Name   string `json:"name"`
	Visits int    `json:"visits"`
}

// newManager returns a Manager without a database: the pool cannot connect.
func newManager[T any](t *testing.T, options ...sessionhttp.Option) *sessionhttp.Manager[T] {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/nothing")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return sessionhttp.New(sessioncache.New[T](pool), append([]sessionhttp.Option{sessionhttp.WithLoginPage("/login")}, options...)...)
}

// inBothWays calls a handler with a request that As has made: directly, and through
// the middleware.
func inBothWays[T any](t *testing.T, sessions *sessionhttp.Manager[T], user T, handler http.Handler) (responses []*http.Response) {
	t.Helper()
	for _, handler := range []http.Handler{handler, sessions.Middleware(handler)} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/account", nil)
		handler.ServeHTTP(w, sessionhttptest.As(sessions, r, user))
		responses = append(responses, w.Result())
	}
	return responses
}

func text(t *testing.T, response *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

var ada = account{ID: "u1", Name: "Ada"}

func TestAs(t *testing.T) {
	t.Parallel()
	sessions := newManager[account](t, sessionhttp.WithDevice(func(r *http.Request) string { return "device of " + r.URL.Path }))
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if user, ok, err := sessions.User(ctx); user != ada || !ok || err != nil {
			t.Errorf("User = %v, %v, %v", user, ok, err)
		}
		if user := sessions.MustUser(ctx); user != ada {
			t.Errorf("MustUser = %v", user)
		}
		if visitor, ok, err := sessions.Visitor(ctx); visitor != ada || !ok || err != nil {
			t.Errorf("Visitor = %v, %v, %v", visitor, ok, err)
		}
		current, err := sessions.Current(ctx)
		if err != nil || !current.Current || current.User != ada || current.Handle == "" || current.TTL != time.Hour || time.Since(current.AuthenticatedAt) > time.Minute {
			t.Errorf("Current = %+v, %v", current, err)
		}
		if current.Device != "device of /account" || current.LastUsedAt != current.CreatedAt {
			t.Errorf("Current = %+v", current)
		}
		if list, err := sessions.Sessions(ctx); err != nil || len(list) != 1 || list[0] != current {
			t.Errorf("Sessions = %+v, %v; want %+v", list, err, current)
		}
		if cause := context.Cause(sessions.Context(r)); cause != nil {
			t.Errorf("Context has ended: %v", cause)
		}
		_, _ = io.WriteString(w, "shown")
	})
	for _, response := range inBothWays(t, sessions, ada, sessions.Require(sessions.RequireFresh(time.Second, page))) {
		if got := text(t, response); response.StatusCode != http.StatusOK || got != "shown" {
			t.Errorf("%d %s", response.StatusCode, got)
		}
	}
}

// TestAsIsForOneManager: others have nobody, and the request without it has nobody.
func TestAsIsForOneManager(t *testing.T) {
	t.Parallel()
	sessions, other := newManager[account](t), newManager[account](t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	as := sessionhttptest.As(sessions, r, ada)
	if _, _, err := other.User(as.Context()); !errors.Is(err, sessionhttp.ErrNoMiddleware) {
		t.Errorf("another Manager: %v", err)
	}
	other.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if user, ok, err := other.User(r.Context()); ok || err != nil {
			t.Errorf("another Manager: User = %v, %v, %v", user, ok, err)
		}
	})).ServeHTTP(httptest.NewRecorder(), as)
	if _, _, err := sessions.User(r.Context()); !errors.Is(err, sessionhttp.ErrNoMiddleware) {
		t.Errorf("the request itself: %v", err)
	}
}

func TestAsUpdate(t *testing.T) {
	t.Parallel()
	sessions := newManager[account](t, sessionhttp.WithProfile(func(a account) any { return a.Visits }))
	refusal := errors.New("refused")
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := sessions.Update(w, r, func(a *account) error { a.Visits = 7; return refusal })
		if err != refusal { //nolint:errorlint // as it is, not wrapped
			t.Errorf("Update = %v; want the error as it is", err)
		}
		for range 2 {
			if err := sessions.Update(w, r, func(a *account) error { a.Visits++; return nil }); err != nil {
				t.Errorf("Update: %v", err)
			}
		}
		fmt.Fprintln(w, sessions.MustUser(r.Context()).Visits)
	})
	for i, response := range inBothWays(t, sessions, ada, handler) {
		cookies := response.Cookies()
		if got := text(t, response); got != "2\n" || len(cookies) != 1 || cookies[0].Value != "2" {
			t.Errorf("%d: after two updates the user has %s visits, cookies %v", i, got, cookies)
		}
	}
}

func TestAsLogout(t *testing.T) {
	t.Parallel()
	sessions := newManager[account](t)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Logout(w, r); err != nil {
			t.Errorf("Logout: %v", err)
		}
		if user, ok, err := sessions.User(r.Context()); ok || err != nil {
			t.Errorf("User after Logout = %v, %v, %v", user, ok, err)
		}
		if _, err := sessions.Current(r.Context()); !errors.Is(err, sessionhttp.ErrNoCookie) {
			t.Errorf("Current after Logout: %v", err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("MustUser after Logout did not panic")
				}
			}()
			sessions.MustUser(r.Context())
		}()
	})
	for i, response := range inBothWays(t, sessions, ada, handler) {
		if cookies := response.Cookies(); len(cookies) != 1 || cookies[0].MaxAge >= 0 {
			t.Errorf("%d: cookies %v; want one that is cleared", i, cookies)
		}
	}
}

// TestAsHasNoSession: what needs a real one fails.
func TestAsHasNoSession(t *testing.T) {
	t.Parallel()
	sessions := newManager[account](t)
	for name, call := range map[string]func(w http.ResponseWriter, r *http.Request) error{
		"Renew":           sessions.Renew,
		"Reauthenticated": sessions.Reauthenticated,
		"Login":           func(w http.ResponseWriter, r *http.Request) error { return sessions.Login(w, r, ada) },
		"LogoutOthers":    func(_ http.ResponseWriter, r *http.Request) error { _, err := sessions.LogoutOthers(r); return err },
		"LogoutEverywhere": func(w http.ResponseWriter, r *http.Request) error {
			_, err := sessions.LogoutEverywhere(w, r)
			return err
		},
	} {
		for i, response := range inBothWays(t, sessions, ada, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := call(w, r); err == nil {
				t.Errorf("%s: no error", name)
			}
			if user, ok, err := sessions.User(r.Context()); user != ada || !ok || err != nil {
				t.Errorf("User after %s = %v, %v, %v", name, user, ok, err)
			}
		})) {
			if cookies := response.Cookies(); len(cookies) != 0 {
				t.Errorf("%s: %d: cookies %v", name, i, cookies)
			}
		}
	}
}

// TestAsReadsTheUserID as the database does.
func TestAsReadsTheUserID(t *testing.T) {
	t.Parallel()
	sessions := newManager[any](t)
	for dict, want := range map[string]bool{
		`{"user_id":"u1"}`: true, `{"user_id":42}`: true, `{"user_id":""}`: false, `{"user_id":null}`: false, `{"id":"u1"}`: false, `"u1"`: false,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		as := sessionhttptest.As[any](sessions, r, rawJSON(dict))
		list, err := sessions.Sessions(as.Context())
		if has := err == nil && len(list) == 1; has != want || !want && !errors.Is(err, sessionhttp.ErrNoUserID) {
			t.Errorf("%s: Sessions = %v, %v; want an id: %v", dict, list, err, want)
		}
	}
}

// rawJSON is a user of any JSON.
type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// TestAsInGoroutines: a handler may ask on any goroutine, as with a real session.
func TestAsInGoroutines(t *testing.T) {
	t.Parallel()
	sessions := newManager[account](t)
	inBothWays(t, sessions, ada, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done := make(chan error)
		for range 10 {
			go func() {
				done <- sessions.Update(w, r, func(a *account) error { a.Visits++; return nil })
			}()
		}
		for range 10 {
			if err := <-done; err != nil {
				t.Errorf("Update: %v", err)
			}
		}
		if user := sessions.MustUser(r.Context()); user.Visits != 10 {
			t.Errorf("after ten updates: %v", user)
		}
	}))
}

func ExampleAs() {
	pool, err := pgxpool.New(context.Background(), "") // which nobody connects to
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	type Account struct {
		ID   string `json:"user_id"`
		Name string
	}
	sessions := sessionhttp.New(sessioncache.New[Account](pool))
	page := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "Hello", sessions.MustUser(r.Context()).Name)
	}

	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/account", nil)
	page(w, sessionhttptest.As(sessions, r, Account{ID: "u1", Name: "Ada"}))
	fmt.Println(strings.TrimSpace(w.Body.String()))
	// Output: Hello Ada
}
