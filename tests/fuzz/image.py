# image.py - a small qcow2 image built field by field, to be damaged by name.
#
# Clusters of 4 KiB, a disk of 64 of them.  Every part has a cluster of its own:
import struct
import zlib

CLUSTER = 4096
HEADER, TABLE, BLOCK, L1, L2, SHARED, OWN, PACKED, SNAPSHOTS, SNAP_L1, \
    SNAP_L2, HELD, BITMAPS, BITMAP_TABLE, BITMAP, END = range(16)

COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1
DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED = 1, 2, 4, 8, 16

# Where the header's fields are, and how wide they are.
FIELDS = {
    'magic': (0, '>I'), 'version': (4, '>I'), 'backing_off': (8, '>Q'),
    'backing_len': (16, '>I'), 'cluster_bits': (20, '>I'),
    'size': (24, '>Q'), 'crypt': (32, '>I'), 'l1_size': (36, '>I'),
    'l1_off': (40, '>Q'), 'table_off': (48, '>Q'),
    'table_clusters': (56, '>I'), 'nb_snapshots': (60, '>I'),
    'snapshots_off': (64, '>Q'), 'incompat': (72, '>Q'),
    'compat': (80, '>Q'), 'autoclear': (88, '>Q'),
    'refcount_order': (96, '>I'), 'header_len': (100, '>I'),
    'compression': (104, '>B'),
}


class Image:
    def __init__(self, version=3):
        self.data = bytearray(END * CLUSTER)
        self.version = version
        self.extensions = []
        self.backing_name = None
        self.raw_extensions = None
        for name, value in (
                ('magic', 0x514649fb), ('version', version),
                ('cluster_bits', 12), ('size', 64 * CLUSTER),
                ('l1_size', 1), ('l1_off', L1 * CLUSTER),
                ('table_off', TABLE * CLUSTER), ('table_clusters', 1),
                ('nb_snapshots', 1), ('snapshots_off', SNAPSHOTS * CLUSTER),
                ('refcount_order', 4), ('header_len', 112)):
            self.field(name, value)
        self.put(TABLE, 0, BLOCK * CLUSTER)
        for i in range(END):
            self.refcount(i, 2 if i == SHARED else 1)
        self.put(L1, 0, L2 * CLUSTER | COPIED)
        self.entry(0, SHARED * CLUSTER)
        self.entry(1, OWN * CLUSTER | COPIED)
        self.entry(2, ZERO if version > 2 else 0)
        self.packed(3, PACKED * CLUSTER, b'packed ' * 585 + b'!')
        self.entry(4, HELD * CLUSTER | COPIED | (ZERO if version > 2 else 0))
        self.fill(SHARED, b'shared data')
        self.fill(OWN, b'own data')
        self.put(SNAP_L1, 0, SNAP_L2 * CLUSTER | COPIED)
        self.put(SNAP_L2, 0, SHARED * CLUSTER)
        self.snapshot()
        if version > 2:
            self.bitmap()

    # ---- bytes ----

    def pack(self, at, fmt, value):
        struct.pack_into(fmt, self.data, at,
                         value & ((1 << 8 * struct.calcsize(fmt)) - 1))

    def field(self, name, value):
        if self.version > 2 or FIELDS[name][0] < 72:
            self.pack(*FIELDS[name], value)

    # Entry i of the table of 64-bit numbers in a cluster.
    def put(self, cluster, i, value):
        self.pack(cluster * CLUSTER + 8 * i, '>Q', value)

    def entry(self, i, value):
        self.put(L2, i, value)

    def refcount(self, i, value):
        self.pack(BLOCK * CLUSTER + 2 * i, '>H', value)

    def fill(self, cluster, text):
        at = cluster * CLUSTER
        text = text * (CLUSTER // len(text) + 1)
        self.data[at:at + CLUSTER] = text[:CLUSTER]

    # Guest cluster i as packed bytes at a host offset; sectors: further ones.
    def packed(self, i, host, plain, sectors=None, raw=None):
        if raw is None:
            z = zlib.compressobj(9, zlib.DEFLATED, -12)
            raw = z.compress(plain) + z.flush()
        if host + len(raw) <= len(self.data):
            self.data[host:host + len(raw)] = raw
        if sectors is None:
            sectors = (host % 512 + len(raw) - 1) // 512
        self.entry(i, COMPRESSED | sectors << 58 | host)

    # ---- parts ----

    def snapshot(self, name=b'snap', id_=b'1', l1_off=SNAP_L1 * CLUSTER,
                 l1_size=1, extra=None, id_len=None, name_len=None,
                 extra_len=None, at=SNAPSHOTS * CLUSTER):
        if extra is None:
            extra = struct.pack('>QQQ', 0, 64 * CLUSTER, (1 << 64) - 1)
        head = struct.pack(
            '>QIHHIIQII', l1_off & (1 << 64) - 1, l1_size,
            len(id_) if id_len is None else id_len,
            len(name) if name_len is None else name_len, 1, 2, 3, 0,
            len(extra) if extra_len is None else extra_len)
        entry = head + extra + id_ + name
        entry = entry[:CLUSTER]
        self.data[at:at + len(entry)] = entry

    def bitmap(self, dir_off=BITMAPS * CLUSTER, dir_len=None, nr=1,
               table_off=BITMAP_TABLE * CLUSTER, table_len=1, flags=2, type_=1,
               granularity=16, name=b'bits', name_len=None, extra_len=0,
               ext_len=24, entry=BITMAP * CLUSTER):
        head = struct.pack('>QIIBBHI', table_off, table_len, flags, type_,
                           granularity,
                           len(name) if name_len is None else name_len,
                           extra_len) + name
        head += bytes(-len(head) % 8)
        self.data[BITMAPS * CLUSTER:BITMAPS * CLUSTER + len(head)] = head
        self.put(BITMAP_TABLE, 0, entry)
        self.field('autoclear', 1)
        ext = struct.pack('>IIQQ', nr, 0,
                          len(head) if dir_len is None else dir_len, dir_off)
        self.extensions = [x for x in self.extensions if x[0] != 0x23852875]
        self.extend(0x23852875, (ext + bytes(64))[:ext_len])

    def extend(self, type_, data, length=None):
        self.extensions.append(
            (type_, data, len(data) if length is None else length))

    # A name as the image's backing file; fmt None: no format is named.
    def backing(self, name, fmt=b'raw'):
        self.backing_name = name
        if fmt is not None:
            self.extend(0xe2792aca, fmt)

    def data_file(self, name, raw=False):
        self.field('incompat', DATA_FILE)
        self.field('nb_snapshots', 0)
        if raw:
            self.field('autoclear', 2)
        self.extend(0x44415441, name)
        for i in (0, 1, 3, 4):
            self.entry(i, 0)
        self.entry(0, COPIED)

    def bytes(self):
        at = 112 if self.version > 2 else 72
        for type_, data, length in self.extensions + [(0, b'', 0)]:
            end = at + 8 + len(data)
            self.data[at:end] = struct.pack('>II', type_, length) + data
            at = (end + 7) & ~7
        if self.backing_name is not None:
            self.data[at:at + len(self.backing_name)] = self.backing_name
            if self.data[8:20] == bytes(12):
                self.field('backing_off', at)
                self.field('backing_len', len(self.backing_name))
        return bytes(self.data)
