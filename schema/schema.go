// Package schema holds the goose migrations of the session_cache table.
//
// Run them with the goose CLI:
//
//	goose -dir schema postgres "$DATABASE_URL" up
//
// or from a program, which needs no files beside it:
//
//	provider, err := goose.NewProvider(goose.DialectPostgres, db, schema.FS)
//	if err != nil { … }
//	_, err = provider.Up(ctx)
package schema

import "embed"

// FS holds the migrations, at its root.
//
//go:embed *.sql
var FS embed.FS
