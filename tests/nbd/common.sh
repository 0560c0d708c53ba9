# Shared by the scripts here.  $1: the folder of our programs.  Sourced, with
# set -eu.  Sockets lie in the test's own folder; nothing leaves the machine.
programs=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
for tool in qemu-img qemu-io qemu-nbd nbdinfo nbdcopy python3; do
	if ! command -v $tool >/dev/null; then
		echo "SKIP: $tool is not installed"
		exit 77
	fi
done
dir=$(mktemp -d "${TMPDIR:-/tmp}/binnacle-nbd-XXXXXX")
servers=
cleanup()
{
	for pid in $servers; do
		stop "$pid"
	done
	rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"
failed=0

fail()
{
	echo "FAIL: $*"
	failed=1
}

img()
{
	timeout 60 "$programs/binnacle-img" "$@"
}

io()
{
	timeout 60 "$programs/binnacle-io" "$@"
}

# Starts a server in the background; its pid is in $server.  It dies with us.
start()
{
	setpriv --pdeathsig KILL "$@" &
	server=$!
	servers="$servers $server"
}

stop()
{
	kill -9 "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

# Until someone listens at a socket: a moment after that has appeared.
wait_for()
{
	for _ in $(seq 600); do
		if grep -q " 00010000 .* $1\$" /proc/net/unix; then
			return
		fi
		sleep 0.1
	done
	fail "nobody listens at $1"
	exit 1
}

tcp_listens()
{
	grep -qs ":$(printf %04X $port) 0*:0000 0A" /proc/net/tcp /proc/net/tcp6
}

# start, at a TCP port that is free; it is in $port.
start_tcp()
{
	for _ in $(seq 20); do
		port=$((20000 + RANDOM % 12000))
		tcp_listens && continue
		start "$@" -p $port
		for _ in $(seq 600); do
			tcp_listens && return
			kill -0 $server 2>/dev/null || break
			sleep 0.1
		done
	done
	fail "nobody listens at a port"
	exit 1
}

# expect PATTERN COMMAND...: the command fails and says so, in time.
refused()
{
	pattern=$1
	shift
	status=0
	said=$("$@" 2>&1) || status=$?
	case $status in
	0) fail "succeeded: $*" ;;
	1) ;;
	*) fail "status $status: $*: $said" ;;
	esac
	case $said in
	*$pattern*) ;;
	*) fail "$*: said '$said', not '$pattern'" ;;
	esac
}

# matches PATTERN COMMAND...: it succeeds and prints the pattern.
matches()
{
	pattern=$1
	shift
	status=0
	said=$("$@" 2>&1) || status=$?
	[ $status -eq 0 ] || fail "status $status: $*: $said"
	case $said in
	*$pattern*) ;;
	*) fail "$*: said '$said', not '$pattern'" ;;
	esac
}

# Do both image tools print the same, but for their names?
same()
{
	img "$@" >ours.out 2>&1 || true
	timeout 60 qemu-img "$@" >theirs.out 2>&1 || true
	sed -i 's/^binnacle-img: /qemu-img: /' ours.out
	cmp -s ours.out theirs.out || {
		fail "$*"
		diff theirs.out ours.out || true
	}
}

finish()
{
	exit $failed
}
