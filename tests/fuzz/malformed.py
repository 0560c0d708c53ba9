# malformed.py - named ways in which an image may lie.  CASES maps each name to
# what its error says ('': it opens; None: either will do) and what makes it: a
# function that fills a folder and returns the bytes of its image.
import os
import struct

from image import (BITMAP, BITMAP_TABLE, BLOCK, CLUSTER, COMPRESSED, COPIED,
                   CORRUPT, DATA_FILE, DIRTY, END, EXTENDED, HEADER, HELD, L1,
                   L2, OWN, PACKED, SHARED, SNAPSHOTS, SNAP_L1, SNAP_L2, TABLE,
                   ZERO, Image)

MAX = (1 << 64) - 1
CASES = {}


def add(name, says, make):
    assert name not in CASES, name
    CASES[name] = says, make


# change(image, folder) on a sound image.
def case(name, says, change, version=3):
    def make(folder):
        image = Image(version)
        change(image, folder)
        return image.bytes()
    add(name, says, make)


def field(name, says, version=3, **fields):
    def change(image, folder):
        for key, value in fields.items():
            image.field(key, value)
    case(name, says, change, version)


case('sound', '', lambda i, d: None)
case('sound-version-2', '', lambda i, d: None, version=2)

# ---- the header ----

field('magic', 'not in qcow2 format', magic=0x51464900)
for version in 0, 1, 4, MAX:
    field('version-%x' % version, 'Unsupported qcow2 version',
          version=version)
for bits in 0, 8, 22, 31, 63, 64, 0xffffffff:
    field('cluster-bits-%x' % bits, 'Unsupported cluster size',
          cluster_bits=bits)
for bits in 9, 11, 13, 21:
    field('cluster-bits-other-%d' % bits, None, cluster_bits=bits)
field('size-huge', 'too big', size=1 << 62)
field('size-past-63-bits', 'too big', size=MAX)
field('size-zero', '', size=0)
field('size-odd', '', size=64 * CLUSTER - 1000)
field('size-more-than-l1', 'L1 table is too small', size=8 << 30)
field('l1-size-zero', 'L1 table is too small', l1_size=0)
field('l1-size-max', 'L1', l1_size=0xffffffff)
field('l1-size-32-mib', 'L1', l1_size=(32 << 20) // 8 + 1)
field('l1-size-past-file', None, l1_size=4 << 20)
field('l1-unaligned', 'L1', l1_off=L1 * CLUSTER + 8)
field('l1-at-header', None, l1_off=0)
field('l1-over-refcounts', None, l1_off=BLOCK * CLUSTER)
field('l1-over-l2', None, l1_off=L2 * CLUSTER)
field('l1-past-end', None, l1_off=1 << 40)
field('l1-overflows', 'L1', l1_off=MAX & ~(CLUSTER - 1))
field('l1-negative', 'L1', l1_off=1 << 63)
for order in 7, 31, 64, 0xffffffff:
    field('refcount-order-%x' % order, 'eference count',
          refcount_order=order)
for order in 0, 6:
    field('refcount-order-other-%d' % order, None, refcount_order=order)
field('table-none', None, table_clusters=0)
field('table-max', 'eference count table', table_clusters=0xffffffff)
field('table-9-mib', 'eference count table', table_clusters=9 << 8)
field('table-past-end', None, table_clusters=1 << 10)
field('table-unaligned', 'eference count table', table_off=TABLE * CLUSTER + 1)
field('table-at-header', None, table_off=0)
field('table-overflows', 'eference count table',
      table_off=MAX & ~(CLUSTER - 1))
field('table-is-l1', None, table_off=L1 * CLUSTER)
field('table-is-data', None, table_off=OWN * CLUSTER)
field('header-length-short', 'too short', header_len=72)
field('header-length-zero', 'too short', header_len=0)
field('header-length-cluster', 'exceeds cluster size', header_len=CLUSTER + 8)
field('header-length-max', 'exceeds cluster size', header_len=0xffffffff)
field('header-length-odd', None, header_len=105)
field('header-is-cluster', None, header_len=CLUSTER)
for method in 1, 2, 3, 0xffffffff:
    field('encryption-%x' % method, 'encrypt', crypt=method)
field('compression-unknown', 'ompression type', compression=9,
      incompat=8)
field('compression-max', 'ompression type', compression=255, incompat=8)
field('compression-without-bit', 'ompression', compression=1)
field('compression-bit-alone', 'ompression', incompat=8)
field('zstd-of-deflated', None, compression=1, incompat=8)
field('extended-in-small-clusters', 'extended L2', incompat=EXTENDED)
field('dirty', '', incompat=DIRTY)
field('corrupt', '', incompat=CORRUPT)
field('dirty-and-corrupt', '', incompat=DIRTY | CORRUPT)
field('incompatible-high', 'Unsupported qcow2 feature', incompat=1 << 63)
field('incompatible-all', 'Unsupported qcow2 feature', incompat=MAX)
field('compatible-all', '', compat=MAX)
field('autoclear-all', None, autoclear=MAX)


def named_feature(image, folder):
    image.field('incompat', 1 << 40)
    image.extend(0x6803f857, struct.pack('>BB46s', 0, 40, b'warp drive'))


case('feature-named', 'warp drive', named_feature)


def wild_features(image, folder):
    image.field('incompat', 3 << 62)
    image.extend(0x6803f857, struct.pack('>BB46s', 0, 62, b'x' * 46) +
                 struct.pack('>BB46s', 9, 255, bytes(46)) + b'short')


case('feature-table-wild', 'xxxxx', wild_features)

# ---- extensions ----


def extension(name, says, type_, data, length=None):
    case(name, says, lambda i, d: i.extend(type_, data, length))


extension('extension-max', 'extension too large', 0x1234, b'', 0xffffffff)
extension('extension-near-max', 'extension too large', 0x1234, b'', 0xfffffff8)
extension('extension-past-cluster', 'extension too large', 0x1234, b'', 4096)
extension('extension-unknown', '', 0x1234, b'whatever it is')
extension('backing-format-long', 'ormat name', 0xe2792aca, b'x' * 1024)
extension('backing-format-max', 'extension too large', 0xe2792aca, b'raw',
          0xffffffff)
extension('data-file-name-long', 'ata file name', 0x44415441, b'x' * 3000)
extension('crypto-header', None, 0x0537be77, bytes(16))
extension('bitmaps-stated-twice', None, 0x23852875, bytes(24))


def many_extensions(image, folder):
    for i in range(400):
        image.extend(0x77000000 + i, b'')


case('extensions-many', None, many_extensions)


def long_format(image, folder):
    image.backing(b'base.raw', b'\xff\n\x1b[31m')
    write(folder, 'base.raw', b'base')


case('backing-format-garbage', 'Unknown driver', long_format)

# ---- snapshots ----

field('snapshots-max', 'napshot', nb_snapshots=0xffffffff)
field('snapshots-65537', 'napshot', nb_snapshots=65537)
field('snapshots-65536', None, nb_snapshots=65536)
field('snapshots-more-than-there', None, nb_snapshots=9)
field('snapshots-unaligned', 'napshot',
      snapshots_off=SNAPSHOTS * CLUSTER + 4)
field('snapshots-past-end', None, snapshots_off=1 << 40)
field('snapshots-at-header', None, snapshots_off=0)
field('snapshots-overflow', 'napshot', snapshots_off=MAX & ~(CLUSTER - 1))
field('snapshots-over-l1', None, snapshots_off=L1 * CLUSTER)


def snapshot(label, says, **how):
    case('snapshot-' + label, says, lambda i, d: i.snapshot(**how))


snapshot('l1-max', 'L1', l1_size=0xffffffff)
snapshot('l1-past-file', None, l1_size=1 << 16)
snapshot('l1-unaligned', 'L1', l1_off=SNAP_L1 * CLUSTER + 512)
snapshot('l1-overflows', 'L1', l1_off=MAX & ~(CLUSTER - 1))
snapshot('l1-past-end', None, l1_off=1 << 50)
snapshot('l1-is-header', None, l1_off=0)
snapshot('l1-is-active', None, l1_off=L1 * CLUSTER)
snapshot('l1-is-data', None, l1_off=SHARED * CLUSTER)
snapshot('name-max', None, name_len=0xffff)
snapshot('name-1-kib', None, name=b'n' * 1024)
snapshot('name-controls', None, name=b'\x1b[2J\n\0x')
snapshot('name-empty', '', name=b'')
snapshot('id-max', None, id_len=0xffff)
snapshot('id-empty', '', id_=b'')
snapshot('extra-max', 'napshot', extra_len=0xffffffff)
snapshot('extra-1025', 'napshot', extra=bytes(1025))
snapshot('extra-1024', None, extra=bytes(8) + struct.pack('>Q', 64 * CLUSTER) +
         bytes(1008))
snapshot('extra-none', '', extra=b'')
snapshot('extra-odd', None, extra=bytes(3))
snapshot('disk-huge', None, extra=struct.pack('>QQ', MAX, MAX))
snapshot('disk-2-tib', None, extra=struct.pack('>QQ', 0, 2 << 40))


def same_snapshots(image, folder):
    image.field('nb_snapshots', 2)
    image.snapshot()
    image.snapshot(at=SNAPSHOTS * CLUSTER + 72)


case('snapshots-same-name', None, same_snapshots)


def snapshot_l1(name, value):
    case('snapshot-entry-' + name, None, lambda i, d: i.put(SNAP_L1, 0, value))


snapshot_l1('past-end', 1 << 50 | COPIED)
snapshot_l1('unaligned', SNAP_L2 * CLUSTER + 512)
snapshot_l1('itself', SNAP_L1 * CLUSTER)
snapshot_l1('header', HEADER | COPIED)
snapshot_l1('garbage', MAX)

# ---- the L1 table ----


def l1(name, value):
    case('l1-entry-' + name, None, lambda i, d: i.put(L1, 0, value))


l1('itself', L1 * CLUSTER | COPIED)
l1('refcount-table', TABLE * CLUSTER | COPIED)
l1('refcount-block', BLOCK * CLUSTER | COPIED)
l1('data', OWN * CLUSTER | COPIED)
l1('packed', PACKED * CLUSTER | COPIED)
l1('of-the-snapshot', SNAP_L2 * CLUSTER | COPIED)
l1('unaligned', L2 * CLUSTER + 512 | COPIED)
l1('past-end', END * CLUSTER * 16 | COPIED)
l1('at-end', END * CLUSTER | COPIED)
l1('far', 0x00fffffffffff000 | COPIED)
l1('reserved', L2 * CLUSTER | COPIED | 0x7f << 56)
l1('low-bits', L2 * CLUSTER | COPIED | 0x1ff)
l1('not-copied', L2 * CLUSTER)
l1('ones', MAX)


def shared_l2(image, folder):
    image.field('l1_size', 64)
    for i in range(64):
        image.put(L1, i, L2 * CLUSTER | COPIED)


case('l1-all-the-same', None, shared_l2)

# ---- L2 tables ----


def l2(name, value, version=3):
    case('l2-entry-' + name, None, lambda i, d: i.entry(0, value), version)


for part, cluster in (('header', HEADER), ('refcount-table', TABLE),
                      ('refcount-block', BLOCK), ('l1', L1), ('l2', L2),
                      ('snapshots', SNAPSHOTS), ('snapshot-l1', SNAP_L1),
                      ('bitmap-table', BITMAP_TABLE), ('other-data', OWN)):
    l2(part, cluster * CLUSTER | COPIED)
l2('unaligned', OWN * CLUSTER + 512 | COPIED)
l2('past-end', 1 << 40 | COPIED)
l2('at-end', END * CLUSTER | COPIED)
l2('far', 0x00fffffffffff000 | COPIED)
l2('reserved', OWN * CLUSTER | COPIED | 0x3f << 56)
l2('low-bits', OWN * CLUSTER | COPIED | 0x1fe)
l2('ones', MAX)
l2('copied-alone', COPIED)
l2('zero-of-version-2', ZERO, version=2)
l2('zero-unaligned', OWN * CLUSTER + 512 | COPIED | ZERO)
l2('zero-past-end', 1 << 40 | COPIED | ZERO)
l2('not-copied', OWN * CLUSTER)
l2('copied-though-shared', SHARED * CLUSTER | COPIED)


def crossed(image, folder):
    for i in range(64):
        image.entry(i, OWN * CLUSTER | COPIED)


case('l2-all-the-same', None, crossed)
case('l2-ones', None, lambda i, d: [i.entry(k, MAX) for k in range(512)])

# ---- compressed clusters ----


def packed(name, host, raw, sectors=None):
    case('packed-' + name, None,
         lambda i, d: i.packed(3, host, None, sectors, raw))


packed('garbage', PACKED * CLUSTER, b'\xff' * 600)
packed('noise', PACKED * CLUSTER, bytes(range(7, 250)) * 2)
packed('empty', PACKED * CLUSTER, bytes(8))
packed('cut', PACKED * CLUSTER, b'\x4b\x4c')
packed('past-end', 1 << 40, b'', 3)
packed('at-end', END * CLUSTER - 100, b'\x63' * 90, 15)
packed('over-l2', L2 * CLUSTER, b'', 15)
packed('over-refcounts', BLOCK * CLUSTER + 17, b'', 1)
packed('at-header', 0, b'', 0)
case('packed-everything', None,
     lambda i, d: [i.entry(k, COMPRESSED | PACKED * CLUSTER | 15 << 58)
                   for k in range(64)])
case('packed-all-bits', None, lambda i, d: i.entry(3, COMPRESSED - 1 |
                                                   COMPRESSED))
case('packed-and-copied', None,
     lambda i, d: i.entry(3, COMPRESSED | COPIED | PACKED * CLUSTER))


# 4 KiB of stored blocks that unpack to more than a cluster.
def bomb(image, folder):
    import zlib
    z = zlib.compressobj(9, zlib.DEFLATED, -12)
    raw = z.compress(bytes(64 << 20)) + z.flush()
    image.packed(3, PACKED * CLUSTER, None, 7, raw[:CLUSTER])


case('packed-bomb', None, bomb)

# ---- refcounts ----


def refcounts(name, change):
    case('refcount-' + name, None, lambda i, d: change(i))


def table(name, value):
    refcounts('table-' + name, lambda i: i.put(TABLE, 0, value))


table('past-end', 1 << 40)
table('unaligned', BLOCK * CLUSTER + 512)
table('itself', TABLE * CLUSTER)
table('l1', L1 * CLUSTER)
table('l2', L2 * CLUSTER)
table('data', OWN * CLUSTER)
table('none', 0)
table('ones', MAX)
table('low-bits', BLOCK * CLUSTER | 0x1ff)
refcounts('table-all-the-same',
          lambda i: [i.put(TABLE, k, BLOCK * CLUSTER) for k in range(512)])
refcounts('all-zero', lambda i: [i.refcount(k, 0) for k in range(END)])
refcounts('all-max', lambda i: [i.refcount(k, 0xffff) for k in range(2048)])
refcounts('header-zero', lambda i: i.refcount(HEADER, 0))
refcounts('l1-zero', lambda i: i.refcount(L1, 0))
refcounts('l2-zero', lambda i: i.refcount(L2, 0))
refcounts('block-zero', lambda i: i.refcount(BLOCK, 0))
refcounts('data-zero', lambda i: i.refcount(OWN, 0))
refcounts('packed-max', lambda i: i.refcount(PACKED, 0xffff))
refcounts('leaks', lambda i: [i.refcount(k, 1) for k in range(END, 2048)])

# ---- bitmaps ----


def bitmap(label, **how):
    case('bitmap-' + label, None, lambda i, d: i.bitmap(**how))


bitmap('dir-past-end', dir_off=1 << 40)
bitmap('dir-unaligned', dir_off=BITMAP * CLUSTER + 8)
bitmap('dir-overflows', dir_off=MAX & ~(CLUSTER - 1))
bitmap('dir-is-l1', dir_off=L1 * CLUSTER)
bitmap('dir-length-max', dir_len=MAX)
bitmap('dir-length-zero', dir_len=0)
bitmap('dir-length-short', dir_len=16)
bitmap('dir-length-64-mib', dir_len=64 << 20)
bitmap('count-max', nr=0xffffffff)
bitmap('count-65535', nr=65535)
bitmap('count-zero', nr=0)
bitmap('extension-short', ext_len=16)
bitmap('extension-long', ext_len=32)
bitmap('table-past-end', table_off=1 << 40)
bitmap('table-unaligned', table_off=BITMAP_TABLE * CLUSTER + 8)
bitmap('table-overflows', table_off=MAX & ~(CLUSTER - 1))
bitmap('table-length-max', table_len=0xffffffff)
bitmap('table-length-256-mib', table_len=32 << 20)
bitmap('table-is-l2', table_off=L2 * CLUSTER)
bitmap('flags', flags=0xffffffff)
bitmap('in-use', flags=1)
bitmap('type', type_=99)
bitmap('granularity-zero', granularity=0)
bitmap('granularity-8', granularity=8)
bitmap('granularity-32', granularity=32)
bitmap('granularity-255', granularity=255)
bitmap('name-empty', name=b'')
bitmap('name-max', name_len=0xffff)
bitmap('name-controls', name=b'\x1b[31m\0\n')
bitmap('extra-max', extra_len=0xffffffff)
bitmap('entry-past-end', entry=1 << 40)
bitmap('entry-unaligned', entry=BITMAP * CLUSTER + 512)
bitmap('entry-reserved', entry=MAX)
bitmap('entry-is-l1', entry=L1 * CLUSTER)

# ---- names ----


def write(folder, name, data):
    with open(os.path.join(folder, name), 'wb') as f:
        f.write(data)


def plain(name, backing, fmt=b'raw', **fields):
    image = Image(3)
    image.backing(name, fmt) if backing else image.data_file(name)
    for key, value in fields.items():
        image.field(key, value)
    return image


# A backing or data file's name; says: what refuses it.  OUTSIDE stands for the
# folder of secrets beside the case's.
def named(name, says, text, prepare=None, fmt=b'raw'):
    def make(folder, backing):
        if prepare:
            prepare(folder)
        outside = os.path.join(os.path.dirname(folder), 'outside').encode()
        return plain(text.replace(b'OUTSIDE', outside), backing, fmt).bytes()
    add('backing-' + name, says, lambda d: make(d, True))
    add('data-file-' + name, says, lambda d: make(d, False))


def link(target):
    return lambda folder: os.symlink(target, os.path.join(folder, 'link'))


def fifo(folder):
    os.mkfifo(os.path.join(folder, 'fifo'))


def socket_file(folder):
    import socket
    s = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(folder)
    s.bind('sock')
    os.chdir(here)
    s.close()


OUT = 'outside its own folder'
named('absolute', OUT, b'OUTSIDE/secret')
named('dotdot', OUT, b'../outside/secret')
named('dotdot-deep', OUT, b'./x/../../outside/secret',
      lambda d: os.mkdir(os.path.join(d, 'x')))
named('passwd', OUT, b'/etc/passwd')
named('link', OUT, b'link', link('../outside/secret'))
named('link-of-folder', OUT, b'link/secret', link('../outside'))
named('link-circle', 'Too many levels', b'link', link('link'))
named('zero', OUT, b'/dev/zero')
named('link-zero', OUT, b'link', link('/dev/zero'))
named('stdin', OUT, b'/dev/stdin')
named('proc', OUT, b'/proc/self/mem')
named('fifo', None, b'fifo', fifo)
named('socket', None, b'sock', socket_file)
named('folder', None, b'.')
named('missing', 'No such file', b'nowhere')
named('nul', None, b'base\0/../../outside/secret')
named('long', None, b'x' * 1023)
named('deep', None, b'x/' * 500)
named('empty-format', None, b'nowhere', fmt=b'')
named('json', 'no plain file', b'json:{}')
named('json-file', 'no plain file',
      b'json:{"driver":"raw","file":{"driver":"file",'
      b'"filename":"OUTSIDE/secret"}}')
named('nbd', 'no plain file', b'nbd:localhost:10809')
named('nbd-url', 'no plain file', b'nbd://127.0.0.1:10809/x')
named('nbd-unix', 'no plain file', b'nbd+unix:///?socket=OUTSIDE/sock')
named('http', 'no plain file', b'http://127.0.0.1/x')
named('fat', 'no plain file', b'fat:rw:OUTSIDE')
named('host-device', 'no plain file', b'host_device:/dev/zero')
named('file-colon', OUT, b'file:OUTSIDE/secret')
named('file-url', None, b'file://OUTSIDE/secret')
named('itself', None, b'image', fmt=b'qcow2')
named('itself-raw', None, b'image')

field('backing-off-past-cluster', 'acking file offset', backing_off=CLUSTER + 1,
      backing_len=4)
field('backing-off-max', 'acking file offset', backing_off=MAX, backing_len=4)
field('backing-off-in-header', None, backing_off=4, backing_len=4)
field('backing-length-max', 'acking file name too long', backing_off=512,
      backing_len=0xffffffff)
field('backing-length-1024', 'acking file name too long', backing_off=512,
      backing_len=1024)
field('backing-over-end', 'acking file name too long', backing_off=CLUSTER - 2,
      backing_len=4)


def two(folder):
    write(folder, 'b', plain(b'image', True, b'qcow2').bytes())
    return plain(b'b', True, b'qcow2').bytes()


def chain(length):
    def make(folder):
        for i in range(length):
            name = b'%d' % (i + 1) if i + 1 < length else None
            image = Image(3)
            if name:
                image.backing(name, b'qcow2')
            write(folder, str(i), image.bytes()[:13 * CLUSTER])
        return plain(b'0', True, b'qcow2').bytes()
    return make


add('backing-circle-of-two', 'circle', two)
add('chain-100', '', chain(100))
add('chain-300', '', chain(300))


def hidden(folder):
    write(folder, 'b', plain(b'../outside/secret', True).bytes())
    return plain(b'b', True, b'qcow2').bytes()


def probed(folder):
    write(folder, 'b', plain(b'../outside/secret', True).bytes())
    return plain(b'b', True, None).bytes()


add('backing-of-backing-outside', OUT, hidden)
add('backing-of-probed-outside', OUT, probed)
add('data-file-unnamed', 'Could not open',
    lambda d: plain(b'', False).bytes())


def no_name(folder):
    image = Image(3)
    image.field('incompat', DATA_FILE)
    return image.bytes()


def packed_outside(folder):
    write(folder, 'data', bytes(64 * CLUSTER))
    image = plain(b'data', False)
    image.entry(3, COMPRESSED | PACKED * CLUSTER)
    return image.bytes()


add('data-file-extension-missing', 'data file', no_name)
add('data-file-and-packed', None, packed_outside)

# ---- subclusters ----


def extended(name, entry, bits):
    def change(image, folder):
        image.field('cluster_bits', 14)
        image.field('incompat', EXTENDED)
        image.field('size', 1 << 20)
        image.data = bytearray(16 << 14)
        image.__init__()
        data = image.data
        # The same clusters, each four times as long.
        image.data = bytearray(16 << 14)
        for i in range(END):
            image.data[i << 14:(i << 14) + CLUSTER] = \
                data[i * CLUSTER:(i + 1) * CLUSTER]
        image.extensions = []
        for key, value in (('cluster_bits', 14), ('incompat', EXTENDED),
                           ('l1_off', L1 << 14), ('table_off', TABLE << 14),
                           ('nb_snapshots', 0), ('autoclear', 0)):
            image.field(key, value)
        for at, value in ((TABLE << 14, BLOCK << 14),
                          (L1 << 14, L2 << 14 | COPIED)):
            image.pack(at, '>Q', value)
        image.data[L2 << 14:L2 + 1 << 14] = bytes(1 << 14)
        image.pack(L2 << 14, '>Q', entry)
        image.pack((L2 << 14) + 8, '>Q', bits)
        for i in range(END):
            image.pack((BLOCK << 14) + 2 * i, '>H', 1)
    case('subclusters-' + name, None, change)


extended('sound', OWN << 14 | COPIED, 0xffffffff)
extended('both', OWN << 14 | COPIED, MAX)
extended('data-without-host', 0, 0xffffffff)
extended('unaligned', (OWN << 14) + 512 | COPIED, 1)
extended('past-end', 1 << 50 | COPIED, 1)
extended('packed-with-bits', COMPRESSED | PACKED << 14, MAX)
extended('zero-flag', OWN << 14 | COPIED | ZERO, 1)

# ---- lengths ----

for length in (0, 1, 3, 4, 8, 71, 72, 100, 103, 104, 111, 112, 120, 511, 512,
               CLUSTER - 1, CLUSTER, TABLE * CLUSTER + 4, 2 * CLUSTER,
               L1 * CLUSTER, L1 * CLUSTER + 4, L2 * CLUSTER,
               L2 * CLUSTER + 20, 5 * CLUSTER, OWN * CLUSTER + 7,
               PACKED * CLUSTER + 9, SNAPSHOTS * CLUSTER + 20,
               SNAP_L2 * CLUSTER, END * CLUSTER - 1):
    add('cut-at-%d' % length, None,
        lambda d, length=length: Image().bytes()[:length])
add('zeroes-after-header', None, lambda d: Image().bytes()[:CLUSTER] +
    bytes(14 * CLUSTER))
add('ones-after-header', None, lambda d: Image().bytes()[:CLUSTER] +
    b'\xff' * 14 * CLUSTER)
