//go:build !unix

package sessiontest

// local is only for Unix, because the server runs on a private Unix socket. Other systems
// use Docker.
func local() starter { return nil }
