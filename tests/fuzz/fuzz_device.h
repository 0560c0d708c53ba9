/*
 * fuzz_device: what fuzzers of device models share: a machine that lives as
 * long as the process (fake_pc), an input that is read piece by piece, and a
 * main for builds without libFuzzer.
 *
 * A fuzzer defines fuzz_run(); the bytes of its input are what the guest does.
 *
 * Thread rule: one thread, the guest's.
 */
#ifndef TESTS_FUZZ_FUZZ_DEVICE_H
#define TESTS_FUZZ_FUZZ_DEVICE_H

#include "tests/unit/fake_pc.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fuzz_input {
	const uint8_t *data;
	size_t len;
};

/* The next 1 to 8 bytes, little endian; zeroes after the end. */
static inline uint64_t fuzz_take(struct fuzz_input *in, unsigned len)
{
	uint64_t value = 0;
	size_t n = len < in->len ? len : in->len;

	memcpy(&value, in->data, n);
	in->data += n;
	in->len -= n;
	return value;
}

/* One of the numbers below n. */
static inline unsigned fuzz_pick(struct fuzz_input *in, unsigned n)
{
	return (unsigned)(fuzz_take(in, 1) % n);
}

/* The next len bytes of the input, or what is left, into guest memory. */
static inline void fuzz_ram(struct fuzz_input *in, struct fake_pc *pc,
			    uint64_t gpa, size_t len)
{
	size_t n = len < in->len ? len : in->len;

	memcpy(pc_ram(pc, gpa), in->data, n);
	in->data += n;
	in->len -= n;
}

/* The machine goes on until no request is with the drive. */
static inline void fuzz_settle(struct fake_pc *pc)
{
	uint64_t end = loop_now_ns() + PC_WAIT_NS;

	while (drive_in_flight(pc->drive)) {
		if (loop_now_ns() > end)
			fail_msg("the drive's requests don't end");
		usleep(50);
	}
}

/* Held up, requests of the machine's drive stay in the device's hands. */
static inline void fuzz_hold(struct fake_pc *pc)
{
	if (pc_gate.gate >= 0)
		return;
	/* What is on its way looks at the gate. */
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	pc_gate_shut(&pc_gate.gate);
	world_resume(pc->m.world);
}

static inline void fuzz_let_go(struct fake_pc *pc)
{
	if (pc_gate.gate < 0)
		return;
	pc_gate_pass(pc_gate.gate, 1u << 20);
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	pc_gate_open(&pc_gate.gate);
	world_resume(pc->m.world);
}

/* The device's state is taken and put back, as it is or with one of its first
 * `most` bytes changed; a device that can't take it is reset. */
static inline void fuzz_move(struct fuzz_input *in, struct fake_pc *pc,
			     struct device *dev, size_t most)
{
	const struct device_class *cls = dev->cls;
	struct state_buf buf = {0};

	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	if (state_save(&buf, cls->state, "d", dev, &pc->e))
		fail_msg("%s", pc->e.msg);
	if (!fuzz_pick(in, 2))
		buf.data[fuzz_take(in, 2) % (most < buf.len ? most : buf.len)] =
			(uint8_t)fuzz_take(in, 1);
	if (state_load(&buf, cls->state, "d", dev, &pc->e) ||
	    (cls->loaded && cls->loaded(dev, &pc->e)))
		cls->reset(dev);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	state_buf_fini(&buf);
}

#ifdef FUZZ_ALONE

#define FUZZ_MAX_LEN 1500u
/* A round takes milliseconds; one that takes this long is stuck. */
#define FUZZ_ROUND_SEC 100u

/* The input of a round, from its number alone. */
static inline size_t fuzz_random(uint64_t seed, uint32_t round, uint8_t *data)
{
	uint64_t x =
		seed * 0x9e3779b97f4a7c15ull + round * 0xbf58476d1ce4e5b9ull;
	size_t len;

	for (size_t i = 0; i < FUZZ_MAX_LEN; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		data[i] = (uint8_t)(x >> 24);
	}
	len = 1 + (size_t)(x >> 32) % FUZZ_MAX_LEN;
	return len;
}

static inline void fuzz_rounds(unsigned seconds, uint64_t seed, uint32_t first,
			       uint32_t *round)
{
	uint64_t end = loop_now_ns() + seconds * 1000000000ull;
	uint8_t data[FUZZ_MAX_LEN];

	for (*round = first; loop_now_ns() < end; ++*round) {
		alarm(FUZZ_ROUND_SEC);
		LLVMFuzzerTestOneInput(data, fuzz_random(seed, *round, data));
	}
}

static inline int fuzz_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(1u << 20);
	size_t len = f && data ? fread(data, 1, 1u << 20, f) : 0;

	if (f)
		fclose(f);
	LLVMFuzzerTestOneInput(data, len);
	free(data);
	return 0;
}

/* fuzz-x [SECONDS [SEED [FIRST]]]: random inputs, round FIRST and on, in a child
 * whose end is told with the round that it came to.  fuzz-x FILE: one input. */
int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 10;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	uint32_t first = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
	uint32_t *round = mmap(NULL, sizeof(*round), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	if (argc > 1 && !seconds)
		return fuzz_file(argv[1]);
	if (round == MAP_FAILED)
		return 1;
	pid = fork();
	if (!pid) {
		fuzz_rounds(seconds, seed, first, round);
		exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	printf("%s: seed %llu, %u rounds from %u\n", status ? "FAIL" : "fine",
	       (unsigned long long)seed, *round - first + !!status, first);
	if (status && WIFSIGNALED(status))
		printf("round %u ended by signal %d (%s)\n", *round,
		       WTERMSIG(status), strsignal(WTERMSIG(status)));
	return status ? 1 : 0;
}

#endif
#endif
