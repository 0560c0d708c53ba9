# Shared by the tests of this folder; to be sourced.  Xvfb, a viewer under it,
# screenshots, and a cleanup that ends only what was started here.

patience=90 # seconds for what takes one on a quiet machine
work=$(mktemp -d) || exit 1
started=

finish() {
	status=$?
	trap - EXIT
	for pid in $started; do
		kill "$pid" 2>/dev/null
	done
	wait 2>/dev/null
	[ $status -eq 0 ] || [ $status -eq 77 ] || show_evidence
	rm -rf "$work"
	exit $status
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

show_evidence() {
	for file in "$work"/*.log "$work"/*.out; do
		[ -s "$file" ] || continue
		echo "--- $file"
		tail -n 30 "$file"
	done
	if [ -n "${VNC_TEST_KEEP:-}" ]; then
		mkdir -p "$VNC_TEST_KEEP"
		cp "$work"/*.png "$work"/*.jpg "$VNC_TEST_KEEP" 2>/dev/null
	fi
}

skip() {
	echo "SKIP: $*"
	exit 77
}

fail() {
	echo "FAIL: $*"
	exit 1
}

need() {
	for tool in "$@"; do
		command -v "$tool" >/dev/null || skip "$tool is not installed"
	done
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	limit=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt "$limit" ] || return 1
		sleep "${pace:-0.3}"
	done
}

# A display number of its own: servers that look for a free one at the same
# time take each other's sockets away.  Keys held down by a starved xdotool
# don't repeat.
start_x() {
	number=$((100 + $$ % 5000))
	for _ in 1 2 3 4 5; do
		Xvfb ":$number" -screen 0 1024x768x24 -nolisten tcp -noreset \
			-r >"$work/xvfb.log" 2>&1 &
		server_x=$!
		started="$started $server_x"
		DISPLAY=:$number
		export DISPLAY
		wait_for "$patience" x_started
		kill -0 "$server_x" 2>/dev/null && x_answers && return
		number=$((number + 5000)) # somebody has that one
	done
	fail "Xvfb does not start"
}

x_answers() {
	xdotool getdisplaygeometry >/dev/null 2>&1
}

x_started() {
	! kill -0 "$server_x" 2>/dev/null || x_answers
}

# start_viewer PORT [OPTION...]; the window's id in $window.
start_viewer() {
	port=$1
	shift
	HOME=$work XDG_CONFIG_HOME=$work/config \
		xtigervncviewer "$@" -AlertOnFatalError=0 -ReconnectOnError=0 \
		-Shared=1 "127.0.0.1::$port" >"$work/viewer.log" 2>&1 &
	viewer=$!
	started="$started $viewer"
	wait_for "$patience" find_window || fail "the viewer shows no window"
}

find_window() {
	kill -0 "$viewer" 2>/dev/null || fail "the viewer has ended"
	window=$(xdotool search --onlyvisible --name "TigerVNC" 2>/dev/null |
		tail -n 1)
	[ -n "$window" ]
}

# screenshot FILE.png: of the viewer's window.
screenshot() {
	xwd -silent -id "$window" -out "$work/window.xwd" 2>/dev/null &&
		convert "xwd:$work/window.xwd" "$1"
}

# pixel FILE X Y: its colour as RRGGBB.
pixel() {
	convert "$1" -crop "1x1+$2+$3" -depth 8 -colorspace sRGB rgb:- |
		od -An -tx1 | tr -d ' \n' | cut -c 1-6
}

# send_keys KEY...: through the viewer.
send_keys() {
	xdotool windowfocus "$window" mousemove --window "$window" 200 150 \
		2>/dev/null
	xdotool key --delay 50 "$@"
}
