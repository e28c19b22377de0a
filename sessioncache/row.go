package sessioncache

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// row is a row of the table, of either kind of session. Get and Authenticate share the
// lookup, and check what a caller may see.
type row struct {
	id       sid.ID
	userDict []byte
	userID   string // of a session with a token only

	// Microseconds since 1970, by the database's clock; now is when it answered.
	created, expires, deadline, now int64
	authenticated, renewed          int64 // zero: never

	idle int64 // microseconds; zero: no idle timeout

	digestsSize int // beside the times, because a hit of the near cache reads both
	digests     [2 * digestSize]byte

	sent nearcache.Instant // before the lookup was sent; zero without a near cache
}

const (
	digestSize = 32
	timesSize  = 7 * 8 // seven integers, at the head of the metadata

	// postgresEpoch is 2000-01-01, the zero of PostgreSQL's timestamps, in microseconds
	// since 1970.
	postgresEpoch = 946_684_800_000_000
)

var errMetadata = errors.New("the metadata of a session is of another version")

// newRow decodes a row of GetSession. The comment of that query has the layout of the
// metadata.
func newRow(stored db.GetSessionRow, sent nearcache.Instant) (row, error) {
	var buffer [timesSize + 2*digestSize]byte
	if len(stored.Metadata) > hex.EncodedLen(len(buffer)) {
		return row{}, errMetadata
	}
	n, err := hex.Decode(buffer[:], []byte(stored.Metadata))
	if err != nil || n < timesSize || (n-timesSize)%digestSize != 0 {
		return row{}, errMetadata
	}
	number := func(i int) int64 { return int64(binary.BigEndian.Uint64(buffer[8*i:])) }
	instant := func(i int) int64 { return number(i) + postgresEpoch }
	optional := func(i int) int64 {
		if number(i) == 0 {
			return 0
		}
		return instant(i)
	}
	r := row{
		id: stored.SessionID, userDict: stored.UserDict, userID: stored.UserID,
		created: instant(0), expires: instant(1), deadline: instant(2), now: instant(3), idle: number(4),
		authenticated: optional(5), renewed: optional(6),
		digestsSize: n - timesSize, sent: sent,
	}
	copy(r.digests[:], buffer[timesSize:n])
	return r, nil
}

// secret is the digest of the token's secret. It is empty for a plain session.
func (r *row) secret() []byte {
	return r.digests[:min(digestSize, r.digestsSize)]
}

// superseded is the digest that the last renewal replaced. It is empty if there was no
// renewal.
func (r *row) superseded() []byte {
	return r.digests[min(digestSize, r.digestsSize):r.digestsSize]
}

// isPlain tells whether the session has no token.
func (r *row) isPlain() bool {
	return r.digestsSize == 0
}

// ttl is the time until the session expires, in microseconds, when the database
// answered. It is negative after that.
func (r *row) ttl() int64 {
	return r.expires - r.now
}

// extendIn is the time, in microseconds, until a use extends the session, which is when
// less than three quarters of the idle timeout are left. ok is false if no use extends
// it.
func (r *row) extendIn() (micros int64, ok bool) {
	return r.ttl() - (r.idle - r.idle/4), r.idle > 0 && r.expires < r.deadline
}

// extend tells whether a use extends the session now.
func (r *row) extend() bool {
	in, ok := r.extendIn()
	return ok && in < 0
}

// keepFor is how long the row may stay in memory: until the session expires, or a use
// has to extend it.
func (r *row) keepFor() time.Duration {
	micros := r.ttl()
	if in, ok := r.extendIn(); ok {
		micros = min(micros, in)
	}
	return duration(micros)
}
