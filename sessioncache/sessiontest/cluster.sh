# Runs a throwaway PostgreSQL cluster until standard input ends.
# Usage: cluster.sh BIN FOLDER
bin=$1
folder=$2
data=$folder/data

trap 'rm -rf "$folder"' EXIT

# No TCP; no fsync and no full pages either: a crash of the machine may have it
# all. pg_ctl hands the options to a shell: they stay on one line.
options="-k '$folder' -p 5432 -c listen_addresses='' -c max_connections=300 -c fsync=off -c full_page_writes=off"

"$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C --no-sync >>"$folder/log" 2>&1 &&
"$bin/pg_ctl" start -w -t 60 -D "$data" -l "$folder/log" -o "$options" >>"$folder/log" 2>&1 || {
	cat "$folder/log" >&2
	exit 1
}

"$bin/postgres" --version
cat >/dev/null
"$bin/pg_ctl" stop -m immediate -D "$data" >>"$folder/log" 2>&1
