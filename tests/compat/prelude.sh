# Sourced by the scenarios: $QEMU_IMG and $QEMU_IO are the tools, the current
# folder is empty.  img, io: a line with its output and exit status.
img()
{
	echo "\$ img $*"
	timeout 60 "$QEMU_IMG" "$@" </dev/null 2>&1
	echo "= $?"
}

io()
{
	echo "\$ io $*"
	timeout 60 "$QEMU_IO" "$@" </dev/null 2>&1
	echo "= $?"
}

# What an image holds, byte for byte, as the tool itself reads it.
holds()
{
	rm -f held.raw
	img convert -O raw "$1" held.raw
	sha256sum <held.raw
	rm -f held.raw
}

title()
{
	echo
	echo "== $*"
}

# Where the host keeps data is each tool's own affair: a map without offsets,
# with neighbours joined that differ in nothing else; it is not said which layer
# lacks what no layer has.
no_offsets()
{
	awk '
	function flush() {
		if (rest != "")
			print start, len rest
		rest = ""
	}
	/"start": [0-9]+, "length": [0-9]+/ {
		match($0, /"start": [0-9]+/)
		s = substr($0, RSTART + 9, RLENGTH - 9)
		match($0, /"length": [0-9]+/)
		l = substr($0, RSTART + 10, RLENGTH - 10)
		r = substr($0, RSTART + RLENGTH)
		sub(/, "offset": [0-9]+/, ", offset", r)
		gsub(/[]}]+,?$/, "", r)
		if (r ~ /"present": false, "zero": true/)
			sub(/"depth": [0-9]+/, "nowhere", r)
		if (r == rest) {
			len += l
			next
		}
		flush()
		start = s
		len = l
		rest = r
		next
	}
	{
		flush()
		print
	}
	END { flush() }'
}

# number FILE OFFSET BYTES: a big endian number of a header, in hexadecimal.
number()
{
	od -An -tx1 -j "$2" -N "$3" "$1" | tr -d ' \n'
	echo
}

# poke FILE OFFSET HEX: writes bytes into a file.
poke()
{
	printf "$(echo "$3" | sed 's/../\\x&/g')" |
		dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# Is an image sound?  How much of it is used depends on where it lies.
sound()
{
	img check "$1" | grep -v -e allocated -e 'Image end offset'
}
