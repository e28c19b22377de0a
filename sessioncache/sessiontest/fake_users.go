package sessiontest

import (
	"context"
	"fmt"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// The kinds of fake users for [FakeUsers].
const (
	Fixed    = "fixed"
	Floating = "floating"
)

// The fake users of the Python module rhaptos2.
var (
	pbrian = fakeUser("Paul Brian", "https://pbrian.myopenid.com",
		"cnxuser:75e06194-baee-4395-8e1a-566b656f6920")
	rossreedstrm = fakeUser("Ross Reedstrom", "https://rossreedstrm.myopenid.com",
		"cnxuser:75e06194-baee-4395-8e1a-566b656f6921")
	edwoodward = fakeUser("Ed Woodward", "https://edwoodward.myopenid.com",
		"cnxuser:75e06194-baee-4395-8e1a-566b656f6922")
)

// Users returns the fake users.
func Users() []User {
	return []User{pbrian, rossreedstrm, edwoodward}
}

func fakeUser(name, openID, userID string) User {
	return User{
		FullName: &name,
		UserID:   &userID,
		Identifiers: []Identifier{{
			IdentifierString: openID,
			UserID:           userID,
			IdentifierType:   "openid",
		}},
	}
}

// FakeUsers stores sessions of fake users and returns their ids.
//
//   - [Fixed] deletes every session in the cache's audience. It then stores pbrian,
//     rossreedstrm and edwoodward under 00000000-0000-0000-0000-000000000000, …1 and
//     …2. Anybody can guess these ids: never use it where real users log in.
//   - [Floating] stores edwoodward under a random id.
//
// Any other kind is an error.
func FakeUsers(ctx context.Context, cache *sessioncache.Cache[User], kind string) (ids []string, err error) {
	switch kind {
	case Fixed:
		if _, err := cache.DeleteAudience(ctx); err != nil {
			return nil, err
		}
		for i, user := range Users() {
			id := sid.ID{15: byte(i)}.String()
			if err := cache.Set(ctx, id, user); err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
		return ids, nil
	case Floating:
		id := sid.New().String()
		return []string{id}, cache.Set(ctx, id, edwoodward)
	default:
		return nil, fmt.Errorf("sessiontest: no fake users of kind %q: want %q or %q", kind, Fixed, Floating)
	}
}
