package recipes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// Numbers is a service whose users are maps. encoding/json decodes the number of a
// map[string]any to a float64, which has no integers above 2^53 but every second one, and
// fewer further up: user 9007199254740993 would be shown the page of 9007199254740992. With
// UseNumber it decodes to a json.Number, which has every digit.
//
// check stands for the service's own check of a password.
func Numbers(pool *pgxpool.Pool, check func(r *http.Request) (map[string]any, bool)) http.Handler {
	cache := sessioncache.New[map[string]any](pool, sessioncache.WithCodec(json.Marshal, unmarshalNumbers))
	sessions := sessionhttp.New(cache)

	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user, ok := check(r)
		if !ok {
			http.Error(w, "please try again", http.StatusUnauthorized)
			return
		}
		if err := sessions.Login(w, r, user); err != nil {
			sessions.Error(w, r, err)
		}
	})
	mux.HandleFunc("POST /rename", func(w http.ResponseWriter, r *http.Request) {
		name := r.PostFormValue("name")
		err := sessions.Update(w, r, func(user *map[string]any) error {
			(*user)["name"] = name
			return nil
		})
		if err != nil {
			sessions.Error(w, r, err)
		}
	})
	mux.Handle("GET /account", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		number, ok := sessions.MustUser(r.Context())["user_id"].(json.Number) // no longer a float64
		id, err := number.Int64()
		if !ok || err != nil {
			http.Error(w, "no number", http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "The account of %d.", id)
	})))
	return sessions.Middleware(mux)
}

// unmarshalNumbers is json.Unmarshal with UseNumber. Nothing follows the first value, where
// Decode stops: the column is of type json.
func unmarshalNumbers(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return decoder.Decode(v)
}
