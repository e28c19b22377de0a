# Runs a throwaway PostgreSQL cluster until standard input ends.
# Usage: cluster.sh BIN FOLDER PORT SETTINGS
bin=$1
folder=$2
port=$3
settings=$4
data=$folder/data

trap 'rm -rf "$folder"' EXIT

"$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C --no-sync >>"$folder/log" 2>&1 &&
# No TCP. No fsync and no full-page writes, because a crash of the machine may lose
# everything. If a setting comes twice, the last one counts.
cat >>"$data/postgresql.conf" <<-SETTINGS &&
	unix_socket_directories = '$folder'
	port = $port
	listen_addresses = ''
	max_connections = 300
	fsync = off
	full_page_writes = off
	$settings
	SETTINGS
"$bin/pg_ctl" start -w -t 60 -D "$data" -l "$folder/log" >>"$folder/log" 2>&1 || {
	cat "$folder/log" >&2
	exit 1
}

"$bin/postgres" --version
cat >/dev/null
"$bin/pg_ctl" stop -m immediate -D "$data" >>"$folder/log" 2>&1
