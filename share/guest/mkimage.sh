#!/bin/sh
# mkimage.sh BOOTSECTOR IMAGE OUTPUT COMMAND-LINE: makes the 16 MiB demo disk.
# Layout: sector 0 boot, 1 command line, 2... image, records from 1 MiB on.
set -eu
boot=$1 image=$2 out=$3 line=$4
limit=$(((32 * 7 - 1) * 512)) # what bootsect.S loads

[ "$(stat -c %s "$boot")" -eq 512 ] || {
	echo "$boot is not one sector" >&2
	exit 1
}
[ "$(stat -c %s "$image")" -le $limit ] || {
	echo "$image is larger than the $limit bytes that the boot sector loads" >&2
	exit 1
}
[ ${#line} -le 511 ] || {
	echo "the command line is longer than 511 bytes" >&2
	exit 1
}
rm -f "$out"
truncate -s 16M "$out"
dd if="$boot" of="$out" conv=notrunc status=none
printf %s "$line" | dd of="$out" bs=512 seek=1 conv=notrunc status=none
dd if="$image" of="$out" bs=512 seek=2 conv=notrunc status=none
