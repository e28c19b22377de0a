package sessioncache

import (
	"fmt"
	"log/slog"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// key is what opens a session: the id of a plain one, or a token's handle and the
// digest of its secret.
type key struct {
	id     sid.ID
	secret []byte // nil: a plain session
}

// parseKey reads the id of a plain session as it arrived in a request.
func parseKey(op, id string) (key, error) {
	sessionID, err := parseID(op, id)
	return key{id: sessionID}, err
}

// keyOf is the key that a token is.
func (c *Cache[T]) keyOf(op string, token sid.Token) (key, error) {
	if err := checkToken(op, token); err != nil {
		return key{}, err
	}
	digest := token.Digest(c.config.tokenScope)
	return key{sid.ID(token.Handle()), digest[:]}, nil
}

// checkToken refuses the zero token, which opens nothing.
func checkToken(op string, token sid.Token) error {
	if token.IsZero() {
		return fmt.Errorf("sessioncache: %s: %w: the token is zero", op, ErrMalformedID)
	}
	return nil
}

// LogValue shows nothing that opens a session: of a plain one, whose id is its key,
// the fingerprint.
func (k key) LogValue() slog.Value {
	if k.secret == nil {
		return k.id.LogValue()
	}
	return slog.StringValue(k.id.String())
}
