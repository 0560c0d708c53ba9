# Shared by the scripts that print the same with both tools.  $1: the folder of
# our programs.  lines FILE runs the shell script FILE with $IMG and $IO set to
# Debian's programs and then to ours, in empty folders, and compares.
set -eu
programs=$1
here=$(cd "$(dirname "$0")" && pwd)
for program in qemu-img qemu-io python3; do
	command -v $program >/dev/null || {
		echo "SKIP: $program is missing; install qemu-utils, python3"
		exit 77
	}
done
# A wrapper in the path would start something else each time.
python=$(python3 -c 'import sys; print(sys.executable)')
python3()
{
	"$python" "$@"
}
export python
export -f python3
work=$(mktemp -d "${TMPDIR:-/tmp}/binnacle-lines-XXXXXX")
trap 'rm -rf "$work"' EXIT

# Times, dates and what the host's file system makes of a file differ; the
# command `cache` is ours alone.
normalise()
{
	sed -E -e '/^cache -- /d' -e 's/^[^ ]* line [0-9]+: +[0-9]+ Killed.*/Killed/' \
		-e 's/ops; [0-9.:]+( sec)? \(.*/ops; SEC/' -e 's/binnacle-(img|io)/qemu-\1/g' \
		-e 's/20[0-9-]{8} [0-9:]{8}/DATE/' \
		-e 's/(disk size|"actual-size"): [0-9.]+( .?i?B)?/\1: N/' \
		-e 's/"date-n?sec": [0-9]+/"date": N/'
}

lines()
{
	mkdir "$work/theirs" "$work/ours"
	(cd "$work/theirs" && IMG=qemu-img IO=qemu-io bash "$here/$1" 2>&1) |
		normalise >"$work/theirs.txt"
	(cd "$work/ours" && IMG=$programs/binnacle-img \
		IO=$programs/binnacle-io bash "$here/$1" 2>&1) |
		normalise >"$work/ours.txt"
	grep -q . "$work/theirs.txt" || {
		echo "$1 printed nothing"
		exit 1
	}
	diff "$work/theirs.txt" "$work/ours.txt"
}
