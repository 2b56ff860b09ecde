# SPDX-License-Identifier: Apache-2.0
# Included by the Makefile: what `make fuzz` builds and runs, and what `make check` runs of it; see docs/evidence.md.
.PHONY: fuzz

FUZZERS := $(sort $(patsubst fuzz/%.c,%,$(wildcard fuzz/fuzz_*.c)))
FUZZ_SUPPORT := $(filter-out fuzz/fuzz_% fuzz/replay.c,$(wildcard fuzz/*.c))

# Support stands before the library: what it defines (a transport in memory) takes the place of the library's own.
define FUZZ_RULES
build/$(1)/fuzz/%.o: fuzz/%.c build/$(1)/flags
	@mkdir -p $$(@D)
	$$(cc_$(1)) $$(CPPFLAGS) -std=gnu11 $$(BASE_CFLAGS) -MMD -MP $$(flags_$(1)) -c -o $$@ $$<

build/$(1)/fuzz/libfuzz.a: $(FUZZ_SUPPORT:fuzz/%.c=build/$(1)/fuzz/%.o)
	rm -f $$@
	$$(AR) rcs $$@ $$^

build/$(1)/fuzz/fuzz_%: build/$(1)/fuzz/fuzz_%.o $(2) build/$(1)/fuzz/libfuzz.a build/$(1)/libdynalock.a
	$$(cc_$(1)) -pthread $$(flags_$(1)) $(3) $$(LDFLAGS) $$(call wraps,fuzz/fuzz_$$*.c) -o $$@ $$^ $$(DEPS_LIBS)
endef
$(eval $(call FUZZ_RULES,fuzz,,-fsanitize=fuzzer))
$(eval $(call FUZZ_RULES,asan,build/asan/fuzz/replay.o))

-include $(wildcard build/*/fuzz/*.d)

# So long each, one after another; FUZZ=part runs those with it in their names. A finding is kept in build/fuzz/found; what
# reached something new, in build/fuzz/corpus.
SECONDS ?= 60
fuzz: $(foreach fuzzer,$(FUZZERS),$(if $(findstring $(or $(FUZZ),fuzz),$(fuzzer)),build/fuzz/fuzz/$(fuzzer)))
	@status=0; for program in $^; do fuzz/run "$$program" '$(SECONDS)' || status=1; done; exit $$status
