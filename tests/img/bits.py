# bits.py IMAGE - the persistent bitmaps of a qcow2 image: a line for each with
# its name, flags, granularity and the chunks that are dirty.
import struct
import sys

f = open(sys.argv[1], 'rb')
head = f.read(104)
cluster = 1 << struct.unpack('>I', head[20:24])[0]
size, = struct.unpack('>Q', head[24:32])
auto, = struct.unpack('>Q', head[88:96])
at, = struct.unpack('>I', head[100:104])
while auto & 1:
    f.seek(at)
    kind, length = struct.unpack('>II', f.read(8))
    if kind == 0:
        sys.exit()
    if kind == 0x23852875:
        break
    at += 8 + (length + 7 & ~7)
else:
    sys.exit()
nr, _, dir_len, dir_off = struct.unpack('>IIQQ', f.read(24))
f.seek(dir_off)
directory = f.read(dir_len)
at = 0
for _ in range(nr):
    off, slots, flags, kind, bits, name, extra = struct.unpack(
        '>QIIBBHI', directory[at:at + 24])
    text = directory[at + 24 + extra:at + 24 + extra + name].decode()
    at += 24 + extra + name + 7 & ~7
    f.seek(off)
    table = struct.unpack('>%dQ' % slots, f.read(8 * slots))
    chunks = -(-size // (1 << bits))
    assert slots == max(1, -(-chunks // (8 * cluster))) or flags & 1, slots
    data = b''
    for entry in table:
        if entry & 0x00fffffffffffe00:
            f.seek(entry & 0x00fffffffffffe00)
            data += f.read(cluster).ljust(cluster, b'\0')
        else:
            data += (b'\xff' if entry & 1 else b'\0') * cluster
    runs, i = [], 0
    while i < chunks:
        if not data[i // 8]:
            i = i // 8 * 8 + 8
            continue
        start = i
        while i < chunks and data[i // 8] >> i % 8 & 1:
            i += 1
        if i > start:
            runs.append('%d+%d' % (start, i - start))
        i += 1
    print(text, 'flags=%d' % flags, 1 << bits, *runs)
