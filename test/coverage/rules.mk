# SPDX-License-Identifier: Apache-2.0
# Included by the Makefile.
.PHONY: build-coverage coverage

# Which lines and branches of the library and the command `make coverage` runs: test/coverage/main.mjs reports. Not
# test_scene_clock, whose contenders are always the usual build, nor fail_command, which is built for the sanitizer.
# DynamoDB Local shows what a failed condition met, and dynalite does not.
COVERAGE_RUNS = $(call runs,unit,coverage,coverage,$(UNITS) $(filter-out fail_command,$(FAILS))) \
	$(call runs,dynalite,coverage,coverage,$(filter-out test_scene_clock,$(TESTS))) \
	$(call runs,local,coverage,coverage,$(COVERAGE_LOCAL_TESTS)) \
	$(foreach test,$(call only,$(COVERAGE_NODE_TESTS)),node|coverage|$(test)|) $(if $(ONLY),,raised|-|dynalock.h|)
COVERAGE_LOCAL_TESTS = $(filter test_go test_kv test_list test_lock test_lock_lost test_lost test_record test_table,$(TESTS))
COVERAGE_NODE_TESTS = $(filter test/command% test/config% test/credentials%,$(NODE_TESTS))
COVERAGE_PROGRAMS = $(call programs,$(COVERAGE_RUNS)) build/coverage/dynalock \
	build/coverage/test/config_tool build/coverage/test/credentials_tool

build/coverage/exit.o: test/coverage/exit.c build/coverage/flags
	$(cc_coverage) -std=gnu11 -O1 -c -o $@ $<

$(COVERAGE_PROGRAMS): build/coverage/exit.o

build-coverage: $(COVERAGE_PROGRAMS) build/locale/de_DE.UTF-8

# Fails, too, where fewer than so many lines of the library in a hundred are run.
COVERED ?= 90
coverage:
	@tools/deps check
	@$(call write_runs,$(COVERAGE_RUNS))
	@echo 'Building; what the compilers say is in build/log'
	@+$(call build_all,build-coverage)
	@find build/coverage -name '*.gcda' -delete
	@status=0; ($(run_environment) TEST_JOBS=4 TEST_LIMIT_MS=400000 $(NODE) test/run.mjs build/runs) || status=1; \
		$(NODE) test/coverage/main.mjs $(COVERED) || status=1; exit $$status
