package recipes_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

func TestChi(t *testing.T) {
	t.Parallel()
	pool, sessions := setUp(t)
	wantProtected(t, pool, recipes.Chi(sessions))
}

// TestChiWithoutMiddleware: a forgotten Middleware lets nobody in.
func TestChiWithoutMiddleware(t *testing.T) {
	t.Parallel()
	_, sessions := setUp(t)
	r := chi.NewRouter()
	r.Use(sessions.Require)
	r.Get("/account", func(http.ResponseWriter, *http.Request) { t.Error("the page was called") })
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, origin+"/account", nil))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status %d; want 500", w.Code)
	}
}
