package sessioncache

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/rhaptos/sessiondb/sid"
)

// key opens a session. It is the id of a plain session, or a token.
type key struct {
	id     sid.ID
	digest []byte    // of the token's secret; nil: a plain session
	token  sid.Token // zero: a plain session
	scope  string    // of the token
}

// parseKey parses the id of a plain session.
func parseKey(op, id string) (key, error) {
	sessionID, err := parseID(op, id)
	return key{id: sessionID}, err
}

// keyOf returns the key of a token.
func (s *store) keyOf(op string, token sid.Token) (key, error) {
	if err := checkToken(op, token); err != nil {
		return key{}, err
	}
	digest := token.Digest(s.config.tokenScope)
	return s.keyWith(token, digest[:]), nil
}

// keyWith is keyOf for a token that was checked, and its digest.
func (s *store) keyWith(token sid.Token, digest []byte) key {
	return key{sid.ID(token.Handle()), digest, token, s.config.tokenScope}
}

// keysOf returns the keys of tokens in ascending order, in which all calls lock sessions.
func (s *store) keysOf(op string, tokens []sid.Token) ([]key, error) {
	keys := make([]key, len(tokens))
	for i, token := range tokens {
		k, err := s.keyOf(op, token)
		if err != nil {
			return nil, err
		}
		keys[i] = k
	}
	slices.SortFunc(keys, func(a, b key) int { return a.id.Compare(b.id) })
	return keys, nil
}

func idsOf(keys []key) []sid.ID {
	ids := make([]sid.ID, len(keys))
	for i, k := range keys {
		ids[i] = k.id
	}
	return ids
}

// family is the digest of what all tokens of the session have in common.
func (k key) family() []byte {
	digest := k.token.FamilyDigest(k.scope)
	return digest[:]
}

// checkToken refuses the zero token, which opens no session.
func checkToken(op string, token sid.Token) error {
	if token.IsZero() {
		return fmt.Errorf("sessioncache: %s: %w: the token is zero", op, ErrMalformedID)
	}
	return nil
}

// LogValue shows nothing that opens a session. For a plain session it is the
// fingerprint of the id.
func (k key) LogValue() slog.Value {
	if k.digest == nil {
		return k.id.LogValue()
	}
	return slog.StringValue(k.id.String())
}
