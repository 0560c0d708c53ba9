# damage.py SEED COUNT FOLDER IMAGE... - writes COUNT damaged copies of small
# images to FOLDER: bytes of the header, of the tables and of anything changed,
# lengths and offsets replaced by absurd ones, tails cut off.
import os
import random
import struct
import sys

seed, count, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
images = [open(name, 'rb').read() for name in sys.argv[4:]]
random.seed(seed)

ABSURD = [0, 1, 2, 511, 512, 0x10000, 0x7fffffff, 0xffffffff, 0x100000000,
          0x7fffffffffffffff, 0xffffffffffffffff, 0x8000000000000000,
          0x00ffffffffffffff, 0x4000000000010000, 0x8000000000010001]

def put(data, at, fmt, value):
    size = struct.calcsize(fmt)
    if at + size <= len(data):
        bits = 8 * size
        data[at:at + size] = struct.pack(fmt, value & ((1 << bits) - 1))

def field(data):
    at, fmt = random.choice([
        (4, '>I'), (8, '>Q'), (16, '>I'), (20, '>I'), (24, '>Q'), (32, '>I'),
        (36, '>I'), (40, '>Q'), (48, '>Q'), (56, '>I'), (60, '>I'),
        (64, '>Q'), (72, '>Q'), (80, '>Q'), (88, '>Q'), (96, '>I'),
        (100, '>I'), (104, '>B')])
    value = random.choice(ABSURD) if random.random() < .5 else \
        random.randrange(1 << 20)
    put(data, at, fmt, value)

def entry(data):
    value = random.choice(ABSURD) ^ random.choice(
        [0, 0x10000, 0x20000, 1 << 62, 1 << 63])
    put(data, random.randrange(len(data) // 8) * 8, '>Q', value)

# Tables are where a small image has something else than zeroes.
def used(data):
    places = [i for i in range(0, len(data) - 8, 8)
              if data[i:i + 8] != bytes(8)]
    put(data, random.choice(places), '>Q',
        random.choice(ABSURD + [random.randrange(64) << 9,
                                random.randrange(1 << 63)]))

def byte(data):
    data[random.randrange(len(data))] = random.randrange(256)

def cut(data):
    del data[random.randrange(len(data)):]

for i in range(count):
    data = bytearray(random.choice(images))
    for _ in range(random.choice([1, 1, 1, 2, 3, 8])):
        if len(data) > 600:
            random.choice([field, field, entry, used, used, used, byte,
                           cut if random.random() < .2 else byte])(data)
    with open(os.path.join(folder, '%05d' % i), 'wb') as f:
        f.write(data)
