# Runs a PostgreSQL image's entrypoint until standard input ends. This is the
# container's first process, so the container ends with it.
# Usage: container.sh COMMAND [ARGUMENT…]
trap 'tail -n 20 /tmp/log >&2; exit 1' TERM

exec 3<&0
{ cat <&3 >/dev/null; kill $$; } &
{ docker-entrypoint.sh "$@" >/tmp/log 2>&1; kill $$; } &
wait
