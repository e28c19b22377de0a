package sessionhttp

import (
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Update changes the user of the request's session, as [sessioncache.Cache.UpdateSession]
// does, and sets the profile cookie again. change may be called several times: read the
// request's body before. It must not call the Manager with this request. An error of change
// is returned unchanged. With [sessioncache.Unawaited] Update does not wait for near caches.
func (m *Manager[T]) Update(w http.ResponseWriter, r *http.Request, change func(user *T) error, options ...sessioncache.UpdateOption) error {
	return m.run(w, r, "update", func(t *sessionChange[T]) error { return t.update(change, options) })
}

func (t *sessionChange[T]) update(change func(*T) error, options []sessioncache.UpdateOption) error {
	session, err := t.find(t.manager.findUser)
	if err != nil {
		return err
	}
	return t.changeUser(session, change, options)
}

// changeUser changes the user of a session, or the data of a visitor.
func (t *sessionChange[T]) changeUser(session sessioncache.Session[T], change func(*T) error, options []sessioncache.UpdateOption) error {
	showsProfile := t.manager.profile != nil && !session.Anonymous() && !t.session.credentials.bearer
	if showsProfile && t.session.response.headersSent.Load() {
		return ErrHeadersSent
	}
	var updated T
	ok, err := t.store(func(user *T) error {
		if err := change(user); err != nil {
			return errCallback{err}
		}
		updated = *user
		return nil
	}, options)
	if err = t.deferNotAwaited(err); err != nil {
		t.reportSuperseded(err)
		return err
	}
	if !ok { // it has ended meanwhile
		return ErrUnknownSession
	}
	t.session.session.User = updated
	if showsProfile {
		t.onSuccess(func(w http.ResponseWriter) {
			set := t.cookiesOf(t.session.token, session)
			set.user = &updated
			t.manager.setProfile(t.ctx, w, t.session, set)
		})
	}
	return nil
}

// store changes the stored user, or the user of a test's login.
func (t *sessionChange[T]) store(change func(*T) error, options []sessioncache.UpdateOption) (ok bool, err error) {
	if t.session.fake {
		user := t.session.session.User
		return true, change(&user)
	}
	return t.cache.UpdateSession(t.ctx, t.session.token, change, options...)
}
