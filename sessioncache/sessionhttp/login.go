package sessionhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// Login starts a session for a user, and sets its cookies. The caller has authenticated
// the user. The session and its token are always new, and the sessions that the request
// carried, a visitor's or a user's, end at the same moment: this prevents session fixation.
// Requests in flight with the former token get sessioncache.ErrSuperseded for ten seconds;
// sent again, they carry the new token.
//
// If the request has more than four session cookies, the error is [ErrMalformedCookie],
// as in [Manager.Logout]. After an error nothing has changed, with one exception: after
// sessioncache.ErrUnavailable the former session may have ended. Login does not wait for near
// caches: other servers may accept the former token for 200 ms.
func (m *Manager[T]) Login(w http.ResponseWriter, r *http.Request, user T, options ...LoginOption) error {
	return m.run(w, r, "log in", func(t *sessionChange[T]) error { return t.login(user, newLoginOptions(options)) })
}

func (t *sessionChange[T]) login(user T, options loginOptions) error {
	if err := t.needCookies(); err != nil {
		return err
	}
	if t.session.credentials.tooMany {
		return ErrMalformedCookie
	}
	former := t.session.credentials.tokens
	session := slices.Concat(options.session, []sessioncache.SessionOption{sessioncache.Replacing(former...)})
	if name := t.manager.config.device; name != nil {
		session = append(session, sessioncache.Device(name(t.session.request)))
	}
	carry := options.carry != nil
	if carry {
		option := carryOption[T](options.carry)
		if carry = len(former) == 1; carry { // of several cookies nobody knows whose they are
			session = append(session, option)
		}
	}
	token, err := t.cache.Issue(t.ctx, user, session...)
	if err != nil {
		t.reportSuperseded(err)
		return err
	}
	if carry { // shows what was stored, which carry may have changed
		if stored, ok, err := t.cache.Session(t.ctx, token.Handle()); ok && err == nil {
			user = stored.User
		}
	}
	userID, err := t.cache.UserID(user)
	if err != nil {
		return err
	}
	lifetime := options.lifetime
	if lifetime == 0 {
		lifetime = t.cache.Lifetime()
	}
	t.session.set(token)
	t.wakeSessions(former)
	if options.limited {
		t.wakeUser(userID)
	}
	t.onSuccess(func(w http.ResponseWriter) {
		t.manager.setCookies(t.ctx, w, t.session, cookies[T]{token: token, remaining: lifetime, persistent: options.remembered, user: &user})
	})
	t.reportOnSuccess(Event{Kind: EventLogin, Handle: token.Handle(), UserID: userID})
	return nil
}

// carryOption marks errors of the function.
func carryOption[T any](carry any) sessioncache.SessionOption {
	f, ok := carry.(func(T, *T) error)
	if !ok {
		panic(fmt.Sprintf("sessionhttp: Carry: the function is a %T, which is not for the Manager's user type", carry))
	}
	return sessioncache.Carry(func(visitor T, user *T) error {
		if err := f(visitor, user); err != nil {
			return errCallback{err}
		}
		return nil
	})
}

// Begin changes the data of a visitor, for example a basket or the state of an OAuth
// login. If there is no session, it starts an anonymous one ([WithVisitorLifetime]). change
// is called with the stored data, perhaps several times (see [sessioncache.Cache.Update]). If
// a user has logged in, Begin changes the user, as [Manager.Update] does. An error of change
// is returned unchanged, and nothing is stored.
//
// If the visitor logs in at the same moment, the error is sessioncache.ErrSuperseded: sent
// again, the request carries the user's token.
func (m *Manager[T]) Begin(w http.ResponseWriter, r *http.Request, change func(visitor *T) error) error {
	return m.run(w, r, "begin", func(t *sessionChange[T]) error { return t.begin(change) })
}

func (t *sessionChange[T]) begin(change func(*T) error) error {
	session, err := t.find(t.manager.find)
	switch {
	case err == nil:
		err = t.changeUser(session, change, nil)
		if errors.Is(err, ErrUnknownSession) { // it has just ended
			err = fmt.Errorf("%w: %w", sessioncache.ErrSuperseded, err)
		}
		return err
	case !errors.Is(err, ErrNoSession):
		return err
	}
	if err := t.needCookies(); err != nil {
		return err
	}
	var visitor T
	if err := change(&visitor); err != nil {
		return errCallback{err}
	}
	lifetime := t.manager.config.visitors
	token, err := t.cache.Issue(t.ctx, visitor, sessioncache.Anonymous(), sessioncache.Lifetime(lifetime))
	if err != nil {
		return err
	}
	t.session.set(token)
	t.onSuccess(func(w http.ResponseWriter) {
		t.manager.setCookies(t.ctx, w, t.session, cookies[T]{token: token, remaining: lifetime})
	})
	t.reportOnSuccess(Event{Kind: EventBegin, Handle: token.Handle()})
	return nil
}

// Accept attaches an existing session, which other code has issued, to the request, and
// sets its cookies. An example is a session that the application's own transaction has
// issued. Accept ends the sessions that the request carried, as Login does. If the
// token is not valid for this Manager (see [New]), the error is [ErrUnknownSession].
// Never accept a token that came with a request: that would allow session fixation.
func (m *Manager[T]) Accept(w http.ResponseWriter, r *http.Request, token sid.Token) error {
	return m.run(w, r, "accept", func(t *sessionChange[T]) error { return t.accept(token) })
}

func (t *sessionChange[T]) accept(token sid.Token) error {
	if err := t.needCookies(); err != nil {
		return err
	}
	session, ok, err := t.cache.Authenticate(t.ctx, token)
	if err != nil {
		return err
	}
	if !ok {
		return ErrUnknownSession
	}
	formers := slices.DeleteFunc(slices.Clone(t.session.credentials.tokens), func(former sid.Token) bool {
		return former.Handle() == token.Handle()
	})
	// In ascending order, in which all calls lock sessions.
	slices.SortFunc(formers, func(a, b sid.Token) int { return sid.ID(a.Handle()).Compare(sid.ID(b.Handle())) })
	for _, former := range formers {
		if _, err := t.cache.Retire(t.ctx, former); err != nil {
			return err
		}
	}
	t.session.set(token)
	t.wakeSessions(formers)
	t.onSuccess(func(w http.ResponseWriter) { t.manager.setCookies(t.ctx, w, t.session, t.cookiesOf(token, session)) })
	t.reportOnSuccess(Event{Kind: EventAccept, Handle: session.Handle, UserID: session.UserID})
	return nil
}

// IssueBearer starts a session for a program and returns its token. The caller has
// authenticated the program's user. Give the text of [sid.Token.Reveal] to the program,
// once. The program sends it as "Authorization: Bearer" to a Manager with [WithBearer].
func (m *Manager[T]) IssueBearer(ctx context.Context, user T, options ...sessioncache.SessionOption) (sid.Token, error) {
	const op = "issue a bearer token"
	s := m.of(ctx)
	if s != nil && s.fake {
		return sid.Token{}, failed(op, errFake)
	}
	token, err := m.cache.Issue(ctx, user, options...)
	if err != nil {
		return sid.Token{}, failed(op, err)
	}
	userID, err := m.cache.UserID(user)
	if err != nil {
		return sid.Token{}, failed(op, err)
	}
	event := Event{Kind: EventIssueBearer, Handle: token.Handle(), UserID: userID}
	if s != nil {
		event.RemoteAddr = m.config.remoteAddress(s.request)
	}
	m.report(ctx, event)
	return token, nil
}
