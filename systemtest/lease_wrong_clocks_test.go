package systemtest

import "testing"

// clockVariable says at what rate the clocks of a process run, and which of them fails.
const clockVariable = "SYSTEMTEST_CLOCK"

// wrongClocks has a program's near caches, and its changes that wait for others, read such
// clocks. The wall clock is set every 300 ms, by up to half a second in either direction. The
// monotonic clock stands still for 450 of 600 ms, as in a machine that is suspended.
var wrongClocks = []edit{
	{memory + "/instant.go", `	now := time.Now()
	return Instant{Mono: int64(now.Sub(processStart)), Wall: now.UnixNano()}
`, `	at := int64(float64(time.Since(processStart)) * Rate)
	if fails == "wall" {
		return Instant{Mono: at, Wall: at + (at/300e6*7919%1000-500)*1e6}
	}
	return Instant{Mono: at/600e6*150e6 + min(at%600e6, 150e6), Wall: at}
`},
	{memory + "/instant.go", "// Now reads", `// Rate is that of the clocks.
var Rate, fails = func() (rate float64, fails string) {
	if _, err := fmt.Sscan(os.Getenv("` + clockVariable + `"), &rate, &fails); err != nil {
		panic(err)
	}
	return rate, fails
}()

// Now reads`},
	{memory + "/instant.go", "import \"time\"\n", "import (\n	\"fmt\"\n	\"os\"\n	\"time\"\n)\n"},
	{facade + "/await.go", "time.NewTimer(NearCacheStaleness)", "time.NewTimer(time.Duration(float64(NearCacheStaleness) / nearcache.Rate))"},
}

// leaseWrongClocks has the clocks of the processes run at different rates, and one of the two
// clocks of each fail.
func leaseWrongClocks(t *testing.T) leaseEnvironment {
	env := leaseOn(startWithTable(t))
	env.clocks = [...]string{"0.92 wall", "0.92 monotonic", "1.08 wall", "1.08 monotonic"}
	env.lease = env.lease * 100 / 92 // by the slowest of them
	env.program = compileTests(t, system, makeOverlay(t, wrongClocks), t.TempDir())
	return env
}
