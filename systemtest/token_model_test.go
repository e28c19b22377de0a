package systemtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The sequential model of the sessions of one user, each with a token. The user is
// the partition, because DeleteUserSessions ends several of their sessions at once.

const (
	kindIssue        kind = "issue"
	kindAuthenticate kind = "authenticate"
	kindUpdateToken  kind = "update session"
	kindRenew        kind = "renew"
	kindRevoke       kind = "revoke"
	kindDeleteHandle kind = "delete session"

	// DeleteUserSessions is two steps: it finds the user's sessions, and later ends,
	// all at once, those of them that are still there. Its statement sees the table as
	// it was when the statement began, and waits for the lock of a session that is
	// being changed. A session that is issued in the meantime stays; one that is
	// renewed in the meantime ends.
	kindFindAll   kind = "find the user's sessions"
	kindDeleteAll kind = "delete the user's sessions"

	// RevokeOthers and RevokeAll are the same two steps. The session of the token is
	// locked meanwhile: it is live at both.
	kindRevokeOthers kind = "revoke the others"
	kindRevokeAll    kind = "revoke all"

	kindRevokeSession kind = "revoke one of the user's sessions"

	// kindSteal is the second step of a call with a token that somebody kept: the session
	// ends.
	kindSteal kind = "end a stolen session"

	// kindAsk is a RevokeOthers, RevokeAll or RevokeSession whose token opens no session.
	kindAsk kind = "ask"

	// The other calls are one step each. That is not obvious of a Renew or an
	// UpdateSession that changes nothing: its first statement misses, and a second looks
	// up why. But a secret that is no longer the session's never is again, so at the
	// time of the second statement the first would miss, too: the call might have
	// happened there as a whole.
)

// inFlight is how many renewals old a token in flight is at most.
const inFlight = 3

// verdict is what a token was good for.
type verdict string

const (
	unknownToken    verdict = "none"
	liveToken       verdict = "live"
	supersededToken verdict = "superseded"
)

// tokenInput is a call. Secrets and users' values are numbers, each made once; zero
// is none.
type tokenInput struct {
	kind    kind
	user    int
	session int
	secret  int // of the token that was shown
	number  int // of renewals before the token that was shown
	target  int // the session that RevokeSession ends
	made    int // the secret of the token that Issue or Renew makes
	value   int // what Issue or UpdateSession writes
	except  int // the session that DeleteUserSessions leaves, or nobody's
	sweep   int // which DeleteUserSessions, of one user

	// late says that a Renew of this token began so long before the call ended that a
	// superseded token may be answered as one that somebody has kept.
	late bool
}

// tokenOutput is how it came back.
type tokenOutput struct {
	verdict verdict
	value   int   // what Authenticate or UpdateSession has read
	deleted int64 // by DeleteSession or DeleteUserSessions
	unknown bool  // ErrUnavailable: it may have happened or not
}

const (
	maxSessions = 30 // of one user
	maxSweeps   = 16 // DeleteUserSessions of one user

	nobodys = maxSessions // the number of no session
)

// tokenState is the state of a user's sessions.
type tokenState struct {
	sessions [maxSessions]tokenSession
	found    [maxSweeps]sessionSet // by those DeleteUserSessions that have not deleted yet
}

// tokenSession is one that exists, or zero.
type tokenSession struct {
	secret, renewals, value int
}

// sessionSet has a bit for each session. The bit of nobodys says that the set is one,
// even if no session is in it.
type sessionSet uint32

func (s tokenSession) judge(in tokenInput) verdict {
	switch {
	case s.secret == 0:
		return unknownToken
	case in.secret == s.secret:
		return liveToken
	case in.number < s.renewals:
		return supersededToken
	default:
		return unknownToken
	}
}

// stolen reports whether a superseded token is older than one in flight can be.
func (s tokenSession) stolen(in tokenInput) bool {
	return s.judge(in) == supersededToken && s.renewals-in.number > inFlight
}

var tokenModel = (&porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var parts [users][]porcupine.Operation
		for _, operation := range history {
			user := operation.Input.(tokenInput).user
			parts[user] = append(parts[user], operation)
		}
		return parts[:]
	},
	Init: func() []any { return []any{tokenState{}} },
	Step: func(state, in, out any) []any {
		return stepToken(state.(tokenState), in.(tokenInput), out.(tokenOutput))
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
}).ToModel()

// stepToken returns the states that a call may leave behind, none if it could not
// have answered so.
func stepToken(state tokenState, in tokenInput, out tokenOutput) []any {
	after, answered := happen(state, in)
	session := state.sessions[in.session]
	switch {
	case in.kind == kindSteal:
		if out.unknown || !session.stolen(in) && in.late { // by the time of the last renewal
			return []any{state, after}
		}
		if !session.stolen(in) {
			return []any{state}
		}
		return []any{after}
	case out.unknown && after != state:
		return []any{state, after}
	case out.unknown:
		return []any{after}
	case answered.verdict == supersededToken && out == tokenOutput{verdict: unknownToken}:
		if in.late || session.stolen(in) {
			return []any{state}
		}
	case answered == out:
		// These may have found the token live, before other changes came first.
		if answered.verdict == supersededToken && session.stolen(in) && in.kind != kindUpdateToken && in.kind != kindAsk {
			return nil
		}
		return []any{after}
	}
	return nil
}

// happen is what a call does and answers.
func happen(state tokenState, in tokenInput) (after tokenState, out tokenOutput) {
	if in.kind == kindFindAll || in.kind == kindDeleteAll {
		return sweep(state, in)
	}
	session := &state.sessions[in.session]
	switch in.kind {
	case kindIssue:
		*session = tokenSession{secret: in.made, value: in.value}
	case kindDeleteHandle:
		if *session != (tokenSession{}) {
			*session, out.deleted = tokenSession{}, 1
		}
	case kindRevoke:
		if session.judge(in) != unknownToken {
			*session = tokenSession{}
		}
	case kindSteal:
		if session.judge(in) == supersededToken {
			*session = tokenSession{}
		}
	default:
		if out.verdict = session.judge(in); out.verdict != liveToken {
			break
		}
		switch in.kind {
		case kindAuthenticate:
			out.value = session.value
		case kindUpdateToken:
			out.value, session.value = session.value, in.value
		case kindRenew:
			session.secret, session.renewals = in.made, session.renewals+1
		case kindRevokeSession:
			if target := &state.sessions[in.target]; *target != (tokenSession{}) {
				*target, out.deleted = tokenSession{}, 1
			}
		}
	}
	return state, out
}

func sweep(state tokenState, in tokenInput) (after tokenState, out tokenOutput) {
	found := &state.found[in.sweep]
	if in.secret != 0 && state.sessions[in.session].judge(in) != liveToken {
		return state, tokenOutput{deleted: -1} // not for a session that has ended
	}
	if in.kind == kindFindAll {
		*found = 1 << nobodys
		for i, session := range state.sessions {
			if session != (tokenSession{}) && i != in.except {
				*found |= 1 << i
			}
		}
		return state, out
	}
	if *found == 0 {
		return state, tokenOutput{deleted: -1} // not before it has looked
	}
	for i := range state.sessions {
		if *found&(1<<i) != 0 && state.sessions[i] != (tokenSession{}) {
			state.sessions[i] = tokenSession{}
			out.deleted++
		}
	}
	*found = 0
	return state, out
}

// TestTokenCheckerCanFail gives the checker histories that a broken store would make.
func TestTokenCheckerCanFail(t *testing.T) {
	t.Parallel()
	type history = []porcupine.Operation
	call := func(in tokenInput, out tokenOutput) porcupine.Operation {
		return porcupine.Operation{Input: in, Output: out}
	}
	none, superseded := tokenOutput{verdict: unknownToken}, tokenOutput{verdict: supersededToken}
	live := func(value int) tokenOutput { return tokenOutput{verdict: liveToken, value: value} }
	unknown := tokenOutput{unknown: true}

	// Two sessions of a user. The first's token is 1, which Renew replaces by 2; the
	// second's is 5. The users' values are 10 and 50.
	issue := call(tokenInput{kind: kindIssue, made: 1, value: 10}, tokenOutput{})
	other := call(tokenInput{kind: kindIssue, session: 1, made: 5, value: 50}, tokenOutput{})
	authenticate := func(secret int, out tokenOutput) porcupine.Operation {
		return call(tokenInput{kind: kindAuthenticate, session: secret / 5, secret: secret, number: (secret - 1) % 4}, out)
	}
	renewAgain := func(secret int) porcupine.Operation { // the tokens of the first session are 1, 2, 3 …
		return call(tokenInput{kind: kindRenew, secret: secret, number: secret - 1, made: secret + 1}, live(0))
	}
	stolen := call(tokenInput{kind: kindAuthenticate, secret: 1}, none)
	steal := call(tokenInput{kind: kindSteal, secret: 1}, tokenOutput{})
	update := func(secret int, out tokenOutput) porcupine.Operation {
		return call(tokenInput{kind: kindUpdateToken, secret: secret, number: secret - 1, value: 20}, out)
	}
	renew := func(made int, out tokenOutput) porcupine.Operation {
		return call(tokenInput{kind: kindRenew, secret: 1, made: made}, out)
	}
	renewed := renew(2, live(0))
	revoke := func(secret int) porcupine.Operation {
		return call(tokenInput{kind: kindRevoke, secret: secret, number: secret - 1}, tokenOutput{})
	}
	byHandle := func(n int64) porcupine.Operation {
		return call(tokenInput{kind: kindDeleteHandle}, tokenOutput{deleted: n})
	}
	others := func(secret int, n int64) history { // of the first session's user
		asker := tokenInput{secret: secret, number: secret - 1, except: 0}
		asker.kind = kindFindAll
		found := call(asker, tokenOutput{})
		asker.kind = kindDeleteAll
		return history{found, call(asker, tokenOutput{deleted: n})}
	}
	find := func(except int) porcupine.Operation {
		return call(tokenInput{kind: kindFindAll, except: except}, tokenOutput{})
	}
	end := func(n int64) porcupine.Operation {
		return call(tokenInput{kind: kindDeleteAll}, tokenOutput{deleted: n})
	}
	unknownRenew := call(tokenInput{kind: kindRenew, secret: 1, made: 2}, unknown)
	kept := call(tokenInput{kind: kindAuthenticate, secret: 1, late: true}, none)

	for name, test := range map[string]struct {
		history history
		want    bool
	}{
		"a session's life": {history{
			issue, authenticate(1, live(10)), update(1, live(10)), renewed, authenticate(2, live(20)), revoke(2), authenticate(2, none),
		}, true},
		"a superseded token":          {history{issue, renewed, authenticate(1, superseded), update(1, superseded), renew(3, superseded)}, true},
		"two renewals later":          {history{issue, renewed, renewAgain(2), authenticate(1, superseded), authenticate(3, live(10))}, true},
		"stolen, four renewals later": {history{issue, renewed, renewAgain(2), renewAgain(3), renewAgain(4), stolen, steal}, true},
		"the others of a user's":      {slices.Concat(history{issue, other}, others(1, 1), history{authenticate(1, live(10)), authenticate(5, none)}), true},
		"one of a user's": {history{issue, other, call(tokenInput{kind: kindRevokeSession, secret: 1, target: 1}, tokenOutput{verdict: liveToken, deleted: 1}),
			authenticate(5, none)}, true},

		"four renewals later in flight":            {history{issue, renewed, renewAgain(2), renewAgain(3), renewAgain(4), authenticate(1, superseded)}, false},
		"two renewals later unknown":               {history{issue, renewed, renewAgain(2), stolen}, false},
		"stolen, and the session does not end":     {history{issue, renewed, renewAgain(2), renewAgain(3), renewAgain(4), stolen, steal, renewAgain(5)}, false},
		"ended as stolen two renewals later":       {history{issue, renewed, renewAgain(2), steal, authenticate(3, none)}, false},
		"the others, asked with a superseded one":  {slices.Concat(history{issue, other, renewed}, others(1, 1)), false},
		"the others, asked by one that has ended":  {slices.Concat(history{issue, other, revoke(1)}, others(1, 1)), false},
		"one of a user's, asked with a superseded": {history{issue, other, renewed, call(tokenInput{kind: kindRevokeSession, secret: 1, target: 1}, tokenOutput{verdict: liveToken, deleted: 1})}, false},
		"a superseded token revokes":               {history{issue, renewed, revoke(1), authenticate(2, none)}, true},
		"by handle":                                {history{issue, renewed, byHandle(1), authenticate(2, none), byHandle(0)}, true},
		"all of a user's":                          {history{issue, other, find(nobodys), end(2), authenticate(1, none), authenticate(5, none)}, true},
		"all but one":                              {history{issue, other, find(1), end(1), authenticate(1, none), authenticate(5, live(50))}, true},
		"issued while all are deleted":             {history{issue, find(nobodys), other, end(1), authenticate(1, none), authenticate(5, live(50))}, true},
		"renewed while all are deleted":            {history{issue, find(nobodys), renewed, end(1), authenticate(2, none)}, true},
		"ended while all are deleted":              {history{issue, other, find(nobodys), revoke(1), end(1), authenticate(5, none)}, true},
		"an unknown Renew that happened":           {history{issue, unknownRenew, authenticate(1, superseded)}, true},
		"an unknown Renew that did not":            {history{issue, unknownRenew, authenticate(1, live(10))}, true},
		"an unknown Issue, and all of it":          {history{call(tokenInput{kind: kindIssue, made: 1, value: 10}, unknown), find(nobodys), end(1)}, true},
		"kept, and the session ends":               {history{issue, renewed, kept, revoke(1), authenticate(2, none)}, true},

		"a superseded token admitted":            {history{issue, renewed, authenticate(1, live(10))}, false},
		"a superseded token unknown at once":     {history{issue, renewed, authenticate(1, none)}, false},
		"a live token superseded":                {history{issue, authenticate(1, superseded)}, false},
		"a live token kept":                      {history{issue, kept}, false},
		"kept, and the session does not end":     {history{issue, renewed, kept, revoke(1), authenticate(2, live(10))}, false},
		"two winners of one Renew":               {history{issue, renewed, renew(3, live(0))}, false},
		"a Renew that is lost":                   {history{issue, renewed, authenticate(2, none)}, false},
		"a Renew that changes the user":          {history{issue, renewed, authenticate(2, live(50))}, false},
		"a Renew that revives":                   {history{issue, revoke(1), renewed}, false},
		"an update by an old secret":             {history{issue, renewed, update(1, live(10))}, false},
		"an update by an old secret in silence":  {history{issue, renewed, update(1, superseded), authenticate(2, live(20))}, false},
		"an update that is lost":                 {history{issue, update(1, live(10)), authenticate(1, live(10))}, false},
		"a stale read":                           {history{issue, update(1, live(10)), renewed, authenticate(2, live(10))}, false},
		"another session's user":                 {history{issue, other, authenticate(1, live(50))}, false},
		"a revoked session alive":                {history{issue, revoke(1), authenticate(1, live(10))}, false},
		"a Revoke that misses a renewed session": {history{issue, renewed, revoke(1), authenticate(2, live(10))}, false},
		"a Revoke that ends another session":     {history{issue, other, revoke(1), authenticate(5, none)}, false},
		"by handle, and it stays":                {history{issue, byHandle(1), authenticate(1, live(10))}, false},
		"by handle, and it says none":            {history{issue, byHandle(0)}, false},
		"all of a user's but one":                {history{issue, other, find(nobodys), end(1), authenticate(5, live(50))}, false},
		"all of a user's, one in silence":        {history{issue, other, find(nobodys), end(2), authenticate(5, live(50))}, false},
		"the exception ends":                     {history{issue, other, find(1), end(2)}, false},
		"all, and the renewed one stays":         {history{issue, find(nobodys), renewed, end(0), authenticate(2, live(10))}, false},
		"all, one after the other":               {history{issue, other, find(nobodys), authenticate(1, none), authenticate(5, live(50)), end(2)}, false},
		"unknown that happens and unhappens":     {history{issue, unknownRenew, authenticate(1, superseded), authenticate(1, live(10))}, false},
	} {
		for i := range test.history { // one after the other
			test.history[i].ClientId, test.history[i].Call, test.history[i].Return = i, int64(10*i), int64(10*i+5)
		}
		if got := porcupine.CheckOperations(tokenModel, test.history); got != test.want {
			t.Errorf("%s: the checker says %v; want %v", name, got, test.want)
		}
	}
}
