package sessioncache_test

import "testing"

func TestDelete(t *testing.T) {
	cache, _ := setup[raw](t)
	id, other := set(t, cache, raw(`{}`)), set(t, cache, raw(`{"other":1}`))
	for range 2 { // the second time it is absent, which is no error
		if err := cache.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		wantNone(t, cache, id)
	}
	wantUser(t, cache, other, `{"other":1}`)
}
