package recipes_test

import (
	"testing"

	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

func TestEcho(t *testing.T) {
	t.Parallel()
	pool, sessions := setUp(t)
	wantProtected(t, pool, recipes.Echo(sessions))
}
