package sessioncache

import (
	"fmt"
	"log/slog"

	"github.com/rhaptos/sessiondb/sid"
)

// key opens a session. It is the id of a plain session, or a token's handle and the
// digest of its secret.
type key struct {
	id     sid.ID
	secret []byte // nil: a plain session
}

// parseKey parses the id of a plain session.
func parseKey(op, id string) (key, error) {
	sessionID, err := parseID(op, id)
	return key{id: sessionID}, err
}

// keyOf returns the key of a token.
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

// LogValue shows nothing that opens a session. For a plain session it is the
// fingerprint of the id.
func (k key) LogValue() slog.Value {
	if k.secret == nil {
		return k.id.LogValue()
	}
	return slog.StringValue(k.id.String())
}
