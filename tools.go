//go:build generate || tools

package sessiondb

// This file pins the versions of the tools that generate db/ and migrate schema/; the
// Makefile reads them here. It imports nothing: a blank import of a tool would put the
// tool's whole module graph on everybody who imports this module.

//go:generate go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1 generate
//go:generate go run -tags "no_clickhouse no_libsql no_mssql no_mysql no_sqlite3 no_vertica no_ydb" github.com/pressly/goose/v3/cmd/goose@v3.30.1 -version
