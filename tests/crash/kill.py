# kill.py PROGRAMS - kills binnacle-io at random moments while it works on a
# qcow2 image.  Afterwards the image must be sound (leaks are allowed), and each
# sector must hold what was stable at the last answer that was seen, or
# something written after it.
import os
import random
import subprocess
import sys
import tempfile
import time

SECTOR = 512
LEN = 4 << 20
PROMPT = b'binnacle-io> '
THROUGH = ('writethrough', 'directsync')  # stable when it completes
MODES = [('writeback', 'threads'), ('writeback', 'io_uring'),
         ('writethrough', 'threads'), ('writethrough', 'io_uring'),
         ('none', 'threads'), ('none', 'native'), ('none', 'io_uring'),
         ('directsync', 'threads'), ('directsync', 'native'),
         ('directsync', 'io_uring'), ('unsafe', 'threads')]
SHAPES = ['', 'cluster_size=4096', 'cluster_size=512', 'lazy_refcounts=on',
          'extended_l2=on,cluster_size=16384', 'refcount_bits=1',
          'compat=0.10', 'compression_type=zstd', 'data_file=a.data']


def run(*args):
    return subprocess.run(args, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)


def must(*args):
    done = run(*args)
    if done.returncode:
        raise SystemExit('%s\n%s' % (' '.join(args), done.stdout.decode()))


# A command, what it writes (first sector, sectors, byte; byte None: may become
# zeroes), and whether its answer says only that it began.
class Command:
    def __init__(self, text, first=0, nr=0, byte=0, begins=False):
        self.text, self.first, self.nr = text, first, nr
        self.byte, self.begins = byte, begins


def place(rng, most):
    nr = rng.randint(1, most)
    first = rng.randrange(LEN // SECTOR - nr)
    return first, nr


def writes(rng, background):
    """Writes that do not overlap when they are in the background."""
    if not background:
        first, nr = place(rng, 64)
        byte = rng.randint(1, 255)
        yield Command('write -q -P %d %d %d' % (byte, first * SECTOR,
                                                nr * SECTOR), first, nr, byte)
        return
    for slot in rng.sample(range(64), rng.randint(2, 10)):
        size = LEN // SECTOR // 64
        nr = rng.randint(1, size)
        byte = rng.randint(1, 255)
        first = slot * size
        yield Command('aio_write -q -P %d %d %d' %
                      (byte, first * SECTOR, nr * SECTOR), first, nr, byte,
                      True)
    yield Command('aio_flush')


def script(rng, shape):
    commands = []
    while len(commands) < 400:
        kind = rng.randrange(20)
        first, nr = place(rng, 300)
        where = '%d %d' % (first * SECTOR, nr * SECTOR)
        if kind < 9:
            commands += writes(rng, False)
        elif kind < 12:
            commands += writes(rng, True)
        elif kind == 12:
            commands.append(Command('write -q -z ' + where, first, nr, 0))
        elif kind == 13:
            commands.append(Command('write -q -z -u ' + where, first, nr, 0))
        elif kind == 14:
            commands.append(Command('discard -q ' + where, first, nr, None))
        elif kind == 15 and 'data_file' not in shape:
            byte, per = rng.randint(1, 255), 65536 // SECTOR
            first = rng.randrange(LEN // 65536) * per
            commands.append(Command('write -q -c -P %d %d 65536' %
                                    (byte, first * SECTOR), first, per, byte))
        else:
            commands.append(Command('flush'))
    return commands


def may_hold(commands, answers, through, below):
    """For each sector the bytes that it may hold."""
    sectors = [{below[s]} for s in range(LEN // SECTOR)]
    pending = {}  # what is not stable yet, by sector
    for i, c in enumerate(commands[:answers + 1]):
        done = i < answers
        for s in range(c.first, c.first + c.nr):
            values = pending.setdefault(s, [])
            values.append(c.byte)
        if not done:
            continue
        if c.text in ('flush', 'aio_flush'):
            settled = list(pending) if c.text == 'flush' or through else []
        else:
            settled = (range(c.first, c.first + c.nr)
                       if through and not c.begins else [])
        for s in settled:
            for byte in pending.pop(s, []):
                if byte is None:
                    sectors[s].add(0)
                else:
                    sectors[s] = {byte}
    for s, values in pending.items():
        for byte in values:
            sectors[s].add(0 if byte is None else byte)
    return sectors


class Round:
    def __init__(self, programs, seed, cache, aio):
        self.rng = random.Random(seed)
        self.io = os.path.join(programs, 'binnacle-io')
        self.img = os.path.join(programs, 'binnacle-img')
        self.cache, self.aio = cache, aio
        self.shape = self.rng.choice(SHAPES)
        self.backing = self.rng.random() < 0.4
        self.name = 'seed %d: cache %s, aio %s, options "%s"%s' % (
            seed, cache, aio, self.shape, ', backing' if self.backing else '')

    def create(self):
        for name in ('a.qcow2', 'a.data'):
            if os.path.exists(name):
                os.remove(name)
        args = [self.img, 'create', '-q', '-f', 'qcow2']
        below = bytearray(LEN // SECTOR)
        if self.backing:
            n = LEN // SECTOR * 2 // 3
            below[:n] = b'\xee' * n
            with open('base.raw', 'wb') as out:
                out.write(b'\xee' * (n * SECTOR))
            args += ['-b', 'base.raw', '-F', 'raw']
        if self.shape:
            args += ['-o', self.shape]
        must(*args, 'a.qcow2', str(LEN))
        return below

    def work(self, commands):
        """How many commands were answered before the end."""
        with open('script', 'w') as out:
            out.write('\n'.join(c.text for c in commands) + '\n')
        with open('script') as stdin, open('answers', 'wb') as out:
            process = subprocess.Popen(
                [self.io, '-f', 'qcow2', '-t', self.cache, '-i', self.aio,
                 'a.qcow2'], stdin=stdin, stdout=out,
                stderr=subprocess.STDOUT)
            while (process.poll() is None and
                   os.path.getsize('answers') < len(PROMPT)):
                time.sleep(0.001)
            # Short spans more often: most of them end in the middle.
            time.sleep(self.rng.random() ** 2 * 0.4)
            process.kill()
            process.wait()
        with open('answers', 'rb') as answers:
            said = answers.read()
        for word in (b'failed', b'rror', b'not found'):
            if word in said:
                raise SystemExit('%s: %s' % (self.name, said[-400:]))
        return max(0, said.count(PROMPT) - 1)

    def wrong(self, what):
        print('FAIL: %s: %s' % (self.name, what))
        return False

    def run(self):
        below = self.create()
        commands = script(self.rng, self.shape)
        answers = self.work(commands)
        sectors = may_hold(commands, answers, self.cache in THROUGH, below)
        if 'lazy' in self.shape:
            must(self.io, '-f', 'qcow2', '-c', 'length', 'a.qcow2')
        check = run('qemu-img', 'check', 'a.qcow2')
        if check.returncode not in (0, 3):
            return self.wrong(check.stdout.decode())
        if check.returncode and 'lazy' in self.shape:
            return self.wrong('leaks after the repair')
        must('qemu-img', 'convert', '-O', 'raw', 'a.qcow2', 'a.raw')
        with open('a.raw', 'rb') as raw:
            for s in range(LEN // SECTOR):
                got = raw.read(SECTOR)
                if got[0] not in sectors[s] or got != got[:1] * SECTOR:
                    return self.wrong(
                        'after %d answers sector %d holds %s, not one of %s' %
                        (answers, s, sorted(set(got)), sorted(sectors[s])))
        must(self.img, 'compare', '-q', 'a.qcow2', 'a.raw')
        self.answers, self.all = answers, len(commands)
        return True


def has_direct(programs):
    with open('probe', 'wb') as out:
        out.write(bytes(65536))
    return run(os.path.join(programs, 'binnacle-io'), '-f', 'raw', '-t',
               'none', '-c', 'length', 'probe').returncode == 0


def main():
    programs = os.path.realpath(sys.argv[1])
    rounds = int(os.environ.get('BINNACLE_KILL_ROUNDS', '2'))
    first = int(os.environ.get('BINNACLE_KILL_FIRST', '0'))
    sound = cut = nr = 0
    with tempfile.TemporaryDirectory(prefix='binnacle-kill-') as folder:
        os.chdir(folder)
        direct = has_direct(programs)
        if not direct:
            print('modes with O_DIRECT are left out: %s refuses it' % folder)
        for i in range(rounds * len(MODES)):
            cache, aio = MODES[i % len(MODES)]
            if cache in ('none', 'directsync') and not direct:
                continue
            one = Round(programs, first + i, cache, aio)
            nr += 1
            if one.run():
                sound += 1
                cut += 0 < one.answers < one.all
        os.chdir('/')
    print('%d of %d sound, %d killed in the middle' % (sound, nr, cut))
    if sound < nr:
        sys.exit(1)


main()
