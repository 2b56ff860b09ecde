# SPDX-License-Identifier: Apache-2.0
# Included by the Makefile: what `make bench` builds and runs; see docs/performance.md.
.PHONY: bench bench-build bench-local bench-plots

BENCH_FLAGS = $(CPPFLAGS) -std=gnu11 $(BASE_CFLAGS) $(CFLAGS)
BENCH_COMMON := bench/bench.c bench/measure.c bench/control.c bench/floor.c
BENCH_HEADERS := $(wildcard bench/*.h) dynalock.h internal.h sigv4.h

# These are linked with the static library, for some look into it.
BENCH_STATIC := $(addprefix build/bench/,operations signing list threads cold scale)
BENCH_PROGRAMS := $(BENCH_STATIC) $(addprefix build/bench/,responder cold_ours cold_floor allocations.so mutexes.so)

$(BENCH_STATIC): build/bench/%: bench/%.c $(BENCH_COMMON) $(BENCH_HEADERS) build/release/libdynalock.a
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) $(LDFLAGS) -o $@ $(filter %.c %.a,$^) $(DEPS_LIBS) -ldl

build/bench/responder: bench/responder.c bench/answers.c bench/answers.h
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^) -lssl -lcrypto

# As programs are that take one lock: with the shared library.
build/bench/cold_ours: bench/cold_ours.c dynalock.h build/release/$(SHARED)
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) $(LDFLAGS) -o $@ $< -Lbuild/release -ldynalock -Wl,-rpath,'$$ORIGIN/../release' $(DEPS_LIBS)

build/bench/cold_floor: bench/cold_floor.c bench/bench.c bench/floor.c $(BENCH_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^) -lcurl

build/bench/%.so: bench/%.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) $(LDFLAGS) -fvisibility=default -shared -o $@ $< -ldl

bench-build: all $(BENCH_PROGRAMS)
build-check: $(BENCH_PROGRAMS)

bench: bench-build
	@$(NODE) bench/main.mjs

# On DynamoDB Local: needs what tools/deps check fetches.
bench-local: bench-build
	@tools/deps check
	@$(NODE) bench/local.mjs

# The plots of docs/performance.md and the tables in it, of the last results.
bench-plots:
	@$(NODE) bench/plots.mjs
