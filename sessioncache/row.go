package sessioncache

import (
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
)

// row is a row of the table, of either kind of session, as the database has answered.
type row struct {
	*db.GetSessionRow
	sent nearcache.Instant // before the lookup was sent; zero without a near cache
}

// isPlain reports whether the session has no token.
func (r *row) isPlain() bool {
	return r.SecretHex == ""
}

// isRetired reports whether a login has replaced the session (RetireSession).
func (r *row) isRetired() bool {
	return r.isAnonymous() && r.Renewals > 0 && r.DeadlineMicros <= r.RenewedMicros+supersededGrace.Microseconds()
}

// isAnonymous reports whether the session is that of a visitor, or has been retired.
func (r *row) isAnonymous() bool {
	return !r.isPlain() && r.AuthenticatedMicros == 0
}

// ttl is the time until the session expires, in microseconds, when the database
// answered. It is negative after that.
func (r *row) ttl() int64 {
	return r.ExpiresMicros - r.NowMicros
}

// extendIn is the time, in microseconds, until a use extends the session, which is when
// less than three quarters of the idle timeout are left. ok is false if no use extends
// it.
func (r *row) extendIn() (micros int64, ok bool) {
	return r.ttl() - (r.IdleMicros - r.IdleMicros/4), r.IdleMicros > 0 && r.ExpiresMicros < r.DeadlineMicros
}

// extend reports whether a use extends the session now.
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
