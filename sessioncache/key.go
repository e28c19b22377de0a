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
	if token.IsZero() {
		return key{}, fmt.Errorf("sessioncache: %s: %w: the token is zero", op, ErrMalformedID)
	}
	digest := token.Digest(c.config.tokenScope)
	return key{sid.ID(token.Handle()), digest[:]}, nil
}

// LogValue shows nothing that opens a session: of a plain one, whose id is its key,
// the fingerprint.
func (k key) LogValue() slog.Value {
	if k.secret == nil {
		return k.id.LogValue()
	}
	return slog.StringValue(k.id.String())
}
