# Shared by the scripts here: each compares the image tool with the one that
# Debian ships.  $1: the folder of our programs.  Sourced, with set -eu.
ours=$1/binnacle-img
theirs=$(command -v qemu-img || true)
theirs_io=$(command -v qemu-io || true)
if [ -z "$theirs" ] || [ -z "$theirs_io" ]; then
	echo "SKIP: qemu-img and qemu-io are not installed"
	exit 77
fi
dir=$(mktemp -d "${TMPDIR:-/tmp}/binnacle-img-XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"
failed=0
blur= # what sed takes out of both outputs, such as times

fail()
{
	echo "FAIL: $*"
	failed=1
}

# Runs the same arguments with both tools, each in a folder of its own that
# prepare() filled, and compares what they print and their exit status.
same()
{
	for who in ours theirs; do
		rm -rf $who.d
		mkdir $who.d
		(cd $who.d && prepare)
		if [ $who = ours ]; then tool=$ours; else tool=$theirs; fi
		status=0
		(cd $who.d && timeout 60 "$tool" "$@") >$who.out \
			2>$who.err || status=$?
		cat $who.err >>$who.out
		echo "status $status" >>$who.out
		sed -i -e 's/^binnacle-img: /qemu-img: /' \
			-e "s/'binnacle-img --help'/'qemu-img --help'/" \
			-e "$blur" $who.out
	done
	cmp -s ours.out theirs.out || {
		fail "$*"
		diff theirs.out ours.out || true
	}
}

# Is the disk in our file what theirs holds, and is ours sound?
same_disk()
{
	"$theirs" compare -q ours.d/"$1" theirs.d/"$1" ||
		fail "$1 differs from theirs"
	case $("$theirs" info ours.d/"$1") in
	*'file format: qcow2'*)
		"$theirs" check -q ours.d/"$1" || fail "$1 is not sound" ;;
	esac
}

finish()
{
	exit $failed
}
