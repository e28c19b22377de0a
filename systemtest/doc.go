// Package systemtest tests the module from outside, beside the programs that it
// meets in production. It is a module of its own, so that nobody who imports
// sessiondb has its requirements.
package systemtest
