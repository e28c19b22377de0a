package recipes_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

const large = 1<<53 + 1 // 9007199254740993

func TestNumbers(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	ada := open(t, recipes.Numbers(pool, func(r *http.Request) (map[string]any, bool) {
		return map[string]any{"user_id": int64(large), "name": "Ada"}, r.PostFormValue("password") == "correct"
	}))
	ada.want("GET", "/account", nil, http.StatusUnauthorized, "")
	ada.want("POST", "/login", url.Values{"password": {"guessed"}}, http.StatusUnauthorized, "please try again")
	ada.want("POST", "/rename", url.Values{"name": {"Eve"}}, http.StatusUnauthorized, "")
	ada.want("POST", "/login", credentials("Ada"), http.StatusOK, "")
	ada.want("GET", "/account", nil, http.StatusOK, "The account of 9007199254740993.")
	ada.want("POST", "/rename", url.Values{"name": {"Augusta"}}, http.StatusForbidden, "", crossSite...)
	ada.want("POST", "/rename", url.Values{"name": {"Augusta"}}, http.StatusOK, "")
	ada.want("GET", "/account", nil, http.StatusOK, "The account of 9007199254740993.")
	var userID, name string
	err := pool.QueryRow(t.Context(), "SELECT user_id, userdict ->> 'name' FROM session_cache").Scan(&userID, &name)
	if err != nil || userID != "9007199254740993" || name != "Augusta" {
		t.Errorf("the table has user %q, name %q, %v", userID, name, err)
	}
}

// TestNumbersWithoutTheCodec shows what the recipe avoids: a user is taken for another.
func TestNumbersWithoutTheCodec(t *testing.T) {
	t.Parallel()
	cache := sessioncache.New[map[string]any](sessiontest.NewPool(t))
	token, err := cache.Issue(t.Context(), map[string]any{"user_id": int64(large)})
	if err != nil {
		t.Fatal(err)
	}
	session, _, err := cache.Authenticate(t.Context(), token)
	if err != nil || session.User["user_id"] != float64(large-1) || session.UserID != "9007199254740993" {
		t.Errorf("user %v, id %s, %v: the codec is not needed", session.User, session.UserID, err)
	}
	_, err = cache.UpdateSession(t.Context(), token, func(user *map[string]any) error { (*user)["name"] = "Ada"; return nil })
	if !errors.Is(err, sessioncache.ErrUserChanged) {
		t.Errorf("an update: %v; want ErrUserChanged", err)
	}
}
