package sessionhttp

// GuessesForTest shows the counter to a test that moves the clock.
type GuessesForTest struct{ guesses }

func (g *GuessesForTest) Add(address string) int   { return g.add(address) }
func (g *GuessesForTest) Count(address string) int { return g.count(address) }
func (g *GuessesForTest) Size() int                { return len(g.current) + len(g.older) }
