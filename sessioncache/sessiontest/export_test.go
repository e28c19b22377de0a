package sessiontest

// What the tests call and read.
const SharesTable = sharesTable

var (
	Container = container
	External  = external
	FirstOf   = start
	Local     = local
)
