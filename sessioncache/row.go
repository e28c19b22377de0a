package sessioncache

import (
	"encoding/binary"
	"encoding/hex"
	"errors"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// row is what the table says of a session of either kind that has begun. Get and
// Authenticate share the lookup; what a caller may see of the row is for them to
// check.
type row struct {
	id       sid.ID
	userDict []byte
	userID   string // of a session with a token

	// Microseconds since 1970, by the database's clock; now is when it answered.
	created, expires, deadline, now int64
	authenticated, renewed          int64 // zero: never

	idle int64 // microseconds; zero: no idle timeout

	// The digests of the token's secret, and of the one before; nil: there is none.
	secret, superseded []byte

	digests [2 * digestSize]byte // holds them
}

const (
	digestSize = 32
	timesSize  = 7 * 8 // of the integers at the head of the metadata

	// postgresEpoch is 2000-01-01, which PostgreSQL counts from, in microseconds since
	// 1970.
	postgresEpoch = 946_684_800_000_000
)

var errMetadata = errors.New("the metadata of a session is of another version")

// read reads what GetSession returns; see there for the layout of the metadata.
func (r *row) read(stored db.GetSessionRow) error {
	var buffer [timesSize + 2*digestSize]byte
	if len(stored.Metadata) > hex.EncodedLen(len(buffer)) {
		return errMetadata
	}
	n, err := hex.Decode(buffer[:], []byte(stored.Metadata))
	if err != nil || n < timesSize || (n-timesSize)%digestSize != 0 {
		return errMetadata
	}
	number := func(i int) int64 { return int64(binary.BigEndian.Uint64(buffer[8*i:])) }
	instant := func(i int) int64 { return number(i) + postgresEpoch }
	optional := func(i int) int64 {
		if number(i) == 0 {
			return 0
		}
		return instant(i)
	}
	*r = row{
		id: stored.SessionID, userDict: stored.UserDict, userID: stored.UserID,
		created: instant(0), expires: instant(1), deadline: instant(2), now: instant(3),
		idle:          number(4),
		authenticated: optional(5), renewed: optional(6),
	}
	copy(r.digests[:], buffer[timesSize:n])
	if n > timesSize {
		r.secret = r.digests[:digestSize]
	}
	if n > timesSize+digestSize {
		r.superseded = r.digests[digestSize:]
	}
	return nil
}

// ttl is how long the session lives from when the database answered, in microseconds;
// negative when it has expired.
func (r *row) ttl() int64 {
	return r.expires - r.now
}

// isLivePlain tells whether an id alone opens the session.
func (r *row) isLivePlain() bool {
	return r != nil && r.secret == nil && r.ttl() >= 0
}

// extend tells whether it is time for ExtendSession: less than three quarters of the
// idle timeout are left, and the deadline is not what ends the session.
func (r *row) extend() bool {
	return r.expires < r.deadline && r.ttl() < r.idle-r.idle/4
}
