# SPDX-License-Identifier: Apache-2.0
# GNU make 4.3 or later. `make help` lists the targets and the variables.

prefix ?= $(or $(PREFIX),/usr/local)
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
libdir ?= $(exec_prefix)/lib
includedir ?= $(prefix)/include
datarootdir ?= $(prefix)/share
mandir ?= $(datarootdir)/man
completionsdir ?= $(datarootdir)/bash-completion/completions
pkgconfigdir ?= $(libdir)/pkgconfig
INSTALL ?= install
PKG_CONFIG ?= pkg-config
CLANG ?= clang
CFLAGS ?= -O2 -g
CXXFLAGS ?= -O2 -g

# The header is the one place where the version stands; tools/check-version says what disagrees.
VERSION := $(shell sed -n 's/^.define DYNALOCK_VERSION "\(.*\)"/\1/p' dynalock.h)
SONAME := libdynalock.so.$(firstword $(subst ., ,$(VERSION)))
SHARED := libdynalock.so.$(VERSION)

SOURCES := $(sort $(wildcard *.c))
COMMAND_SOURCES := $(sort $(wildcard command/*.c))
MAN_PAGES := $(sort $(wildcard man/*.[137]))
DEPENDENCIES := libcurl libcrypto jansson

# Asked for when first used, and once: `make deps` works before there is anything to ask.
once = $(eval $(1) := $(2))$($(1))
DEPS_CFLAGS = $(call once,DEPS_CFLAGS,$(shell $(PKG_CONFIG) --cflags $(DEPENDENCIES)))
DEPS_LIBS = $(call once,DEPS_LIBS,$(shell $(PKG_CONFIG) --libs $(DEPENDENCIES)))
CMOCKA_CFLAGS = $(call once,CMOCKA_CFLAGS,$(shell $(PKG_CONFIG) --cflags cmocka))
CMOCKA_LIBS = $(call once,CMOCKA_LIBS,$(shell $(PKG_CONFIG) --libs cmocka))

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wpedantic
BASE_CFLAGS = -fPIC -fvisibility=hidden -pthread $(WARNINGS) -I. $(DEPS_CFLAGS)

SYSTEMS := $(if $(filter x86_64,$(shell uname -m)),bullseye i386 arm64)

# The variants: all of them have their objects and a static library in build/<variant>.
VARIANTS := release clang asan tsan fuzz coverage $(SYSTEMS)
cc_release = $(CC)
cc_clang = $(CLANG)
cc_asan = $(CC)
cc_tsan = $(CC)
cc_fuzz = $(CLANG)
cc_coverage = gcc
flags_release = $(CFLAGS)
flags_clang = -O2 -g
flags_asan = -O1 -g -Werror -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
flags_fuzz = -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
flags_tsan = -O1 -g -fno-omit-frame-pointer -fsanitize=thread
flags_coverage = -O0 -g --coverage -fprofile-update=atomic -Wl,--wrap=_exit

# Other systems: what they compile against and run with is fetched by tools/sysroots, and runs on x86-64 alone.
# bullseye has libcurl 7.74, OpenSSL 1.1.1 and glibc 2.31; i386 has a time_t and a long of 32 bits.
sysroot = $(CURDIR)/test/sysroots/$(1)
own_loader = --sysroot=$(call sysroot,$(1)) -B$(call sysroot,$(1))/usr/lib/$(2) \
	-Wl,--dynamic-linker=$(call sysroot,$(1))/$(3) \
	-Wl,--disable-new-dtags,-rpath,$(call sysroot,$(1))/lib/$(2):$(call sysroot,$(1))/usr/lib/$(2)
cc_bullseye = $(CC)
cc_i386 = $(CC) -m32
cc_arm64 = aarch64-linux-gnu-gcc
flags_bullseye = -O1 -Werror $(call own_loader,bullseye,x86_64-linux-gnu,lib64/ld-linux-x86-64.so.2)
# gcc notes that it aligns 64-bit atomics in structures otherwise since 11.1: dynalock.h has none.
flags_i386 = -O1 -Werror -Wno-psabi $(call own_loader,i386,i386-linux-gnu,lib/ld-linux.so.2) \
	-B$(call sysroot,i386)/usr/lib/gcc/i686-linux-gnu/12
flags_arm64 = -O1 -Werror --sysroot=$(call sysroot,arm64)
$(addsuffix /%,$(addprefix build/,$(SYSTEMS))): DEPS_CFLAGS =
$(addsuffix /%,$(addprefix build/,$(SYSTEMS))): DEPS_LIBS = -lcurl -lcrypto -ljansson -ldl
$(addsuffix /%,$(addprefix build/,$(SYSTEMS))): CMOCKA_CFLAGS =
$(addsuffix /%,$(addprefix build/,$(SYSTEMS))): CMOCKA_LIBS = -lcmocka

MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all amalgamation examples check check-offline build-check build-check-offline abi memcheck soak sweep guards model \
	deps demo try install uninstall installcheck format clean help FORCE

all: build/version build/release/libdynalock.a build/release/$(SHARED) build/release/dynalock

build/version: dynalock.h dynalock.map CHANGELOG.md pkg-config/dynalock.pc.in tools/check-version
	@mkdir -p $(@D)
	@tools/check-version && touch $@

# ---- The library --------------------------------------------------------------------------------

define VARIANT_RULES
build/$(1)/flags: FORCE
	@mkdir -p $$(@D)/test $$(@D)/command $$(@D)/examples
	@echo '$$(cc_$(1)) $$(CPPFLAGS) $$(BASE_CFLAGS) $$(flags_$(1))' | cmp -s - $$@ || \
		echo '$$(cc_$(1)) $$(CPPFLAGS) $$(BASE_CFLAGS) $$(flags_$(1))' >$$@

build/$(1)/%.o: %.c build/$(1)/flags
	$$(cc_$(1)) $$(CPPFLAGS) -std=c11 $$(BASE_CFLAGS) -MMD -MP $$(flags_$(1)) -c -o $$@ $$<

build/$(1)/libdynalock.a: $(SOURCES:%.c=build/$(1)/%.o)
	rm -f $$@
	$$(AR) rcs $$@ $$^

# It has the library in itself, and so runs wherever it is copied to.
build/$(1)/command/%.o: command/%.c build/$(1)/flags
	$$(cc_$(1)) $$(CPPFLAGS) -std=gnu11 $$(BASE_CFLAGS) -MMD -MP $$(flags_$(1)) -c -o $$@ $$<

build/$(1)/dynalock: $(COMMAND_SOURCES:%.c=build/$(1)/%.o) build/$(1)/libdynalock.a
	$$(cc_$(1)) -pthread $$(flags_$(1)) $$(LDFLAGS) -o $$@ $$^ $$(DEPS_LIBS)

build/$(1)/test/%.o: test/%.c build/$(1)/flags
	$$(cc_$(1)) $$(CPPFLAGS) -std=gnu11 $$(BASE_CFLAGS) -Itest $$(CMOCKA_CFLAGS) -MMD -MP $$(flags_$(1)) -c -o $$@ $$<

build/$(1)/test/libsupport.a: $(SUPPORT:test/%.c=build/$(1)/test/%.o)
	rm -f $$@
	$$(AR) rcs $$@ $$^

build/$(1)/test/%: build/$(1)/test/%.o build/$(1)/test/libsupport.a build/$(1)/libdynalock.a
	$$(cc_$(1)) -pthread $$(flags_$(1)) $$(LDFLAGS) $$(call wraps,test/$$*.c \
		$$(if $$(filter fail_%,$$*),test/support_fail.h)) -o $$@ $$^ \
		$$(CMOCKA_LIBS) $$(DEPS_LIBS) -lm
endef

# What every test may use: the rig's client, and support files.
SUPPORT := $(sort $(wildcard test/rig.c test/support*.c))

# The command as part of a test program, in which its main is another.
build/asan/test/command_main.o: build/asan/command/main.o
	objcopy --redefine-sym main=command_main $< $@

build/asan/test/fail_command: build/asan/test/fail_command.o build/asan/test/command_main.o \
		$(patsubst %.c,build/asan/%.o,$(filter-out command/main.c,$(COMMAND_SOURCES))) \
		build/asan/test/libsupport.a build/asan/libdynalock.a
	$(cc_asan) -pthread $(flags_asan) $(LDFLAGS) $(call wraps,test/fail_command.c test/support_fail.h) -o $@ $^ \
		$(CMOCKA_LIBS) $(DEPS_LIBS) -lm

# The soak's contenders, of several builds.
SOAK_CONTENDERS := $(foreach variant,release asan tsan,build/$(variant)/soak/contender)
$(SOAK_CONTENDERS): build/%/soak/contender: test/soak/contender.c build/%/libdynalock.a build/%/flags
	@mkdir -p $(@D)
	$(cc_$*) $(CPPFLAGS) -std=gnu11 $(BASE_CFLAGS) $(flags_$*) $(LDFLAGS) -o $@ $(filter %.c %.a,$^) $(DEPS_LIBS)

# A failure-injection test names, in lines `/* wrap: malloc strdup */`, what it puts itself in front of.
wraps = $(patsubst %,-Wl$(comma)--wrap=%,$(shell sed -n 's,^/\* wrap: *\(.*\) \*/$$,\1,p' $(1)))
comma := ,

$(foreach variant,$(VARIANTS),$(eval $(call VARIANT_RULES,$(variant))))
.SECONDARY:

# The shared library is made of the two files: a compiler that sees all at once needs a tenth less. Small before fast:
# it costs about a microsecond a request. The tables left out are for exceptions thrown through C; two
# things that gcc does at -Os make it larger.
ENLARGING := -fno-thread-jumps -fno-caller-saves
no_enlarging = $(call once,no_enlarging,$(shell $(CC) -Werror $(ENLARGING) -E -xc /dev/null >/dev/null 2>&1 && echo $(ENLARGING)))
SHARED_CFLAGS ?= -Os -fno-plt -fno-asynchronous-unwind-tables $(no_enlarging)
SHARED_LDFLAGS ?= -Wl,-O1 -Wl,-z,noseparate-code

build/release/$(SHARED): build/amalgamation/dynalock.c dynalock.map build/release/flags
	$(CC) $(CPPFLAGS) -std=gnu11 -fPIC -fvisibility=hidden -pthread $(DEPS_CFLAGS) $(CFLAGS) $(SHARED_CFLAGS) \
		-shared $(LDFLAGS) $(SHARED_LDFLAGS) -Wl,-soname,$(SONAME) -Wl,-z,defs -Wl,--no-undefined \
		-Wl,--version-script=dynalock.map -o $@ $< $(DEPS_LIBS)
	ln -sf $(SHARED) build/release/$(SONAME)
	ln -sf $(SONAME) build/release/libdynalock.so

# For the test that loads it.
define SYSTEM_RULES
build/$(1)/libdynalock.so: build/$(1)/libdynalock.a dynalock.map
	$$(cc_$(1)) -shared -pthread $$(flags_$(1)) $$(LDFLAGS) -Wl,-z,defs -Wl,--version-script=dynalock.map -o $$@ \
		-Wl,--whole-archive $$< -Wl,--no-whole-archive $$(DEPS_LIBS)

build/$(1)/test/test_guest: | build/$(1)/libdynalock.so
endef
$(foreach system,$(SYSTEMS),$(eval $(call SYSTEM_RULES,$(system))))

-include $(wildcard build/*/*.d build/*/test/*.d build/*/command/*.d)

# The library as two files, to be taken into another project.
amalgamation: build/amalgamation/dynalock.c

build/amalgamation/dynalock.c build/amalgamation/dynalock.h &: tools/amalgamate $(SOURCES) $(wildcard *.h)
	tools/amalgamate $(@D)

# ---- Examples -----------------------------------------------------------------------------------

# examples/NAME.c, examples/NAME.cpp and examples/NAME/*.c each become build/release/examples/NAME.
EXAMPLES := $(sort $(patsubst examples/%.c,%,$(wildcard examples/*.c)) \
	$(patsubst examples/%/,%,$(dir $(wildcard examples/*/*.c))))
EXAMPLE_PROGRAMS := $(EXAMPLES:%=build/release/examples/%)
CXX_EXAMPLE_PROGRAMS := $(patsubst examples/%.cpp,build/release/examples/%,$(sort $(wildcard examples/*.cpp)))

# What an example needs besides.
EXAMPLE_PACKAGES_libuv := libuv
example_libs = $(if $(EXAMPLE_PACKAGES_$(1)),$(shell $(PKG_CONFIG) --cflags --libs $(EXAMPLE_PACKAGES_$(1))))

examples: $(EXAMPLE_PROGRAMS) $(CXX_EXAMPLE_PROGRAMS)

.SECONDEXPANSION:
$(EXAMPLE_PROGRAMS): build/release/examples/%: $$(wildcard examples/$$*.c examples/$$*/*.[ch]) dynalock.h \
		build/release/$(SHARED) build/release/flags
	$(CC) $(CPPFLAGS) -std=gnu11 $(BASE_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^) \
		-Lbuild/release -ldynalock -Wl,-rpath,'$$ORIGIN/..' $(DEPS_LIBS) $(call example_libs,$*)

$(CXX_EXAMPLE_PROGRAMS): build/release/examples/%: examples/%.cpp dynalock.h build/release/$(SHARED) build/release/flags
	$(CXX) $(CPPFLAGS) -std=c++11 $(WARNINGS) -I. $(CXXFLAGS) $(LDFLAGS) -o $@ $< \
		-Lbuild/release -ldynalock -Wl,-rpath,'$$ORIGIN/..' $(DEPS_LIBS)

# ---- Fuzzers ------------------------------------------------------------------------------------

-include fuzz/rules.mk

# ---- Tests --------------------------------------------------------------------------------------

# unit_*.c may use internal functions and need nothing. test_*.c use the public interface alone, on every
# variant and on both servers; those that include ../internal.h are not run with the shared library nor the two
# files. fail_*.c inject failures, without a server. Programs with threads also run under the thread
# sanitizer.
UNITS := $(sort $(patsubst test/%.c,%,$(wildcard test/unit_*.c)))
TESTS := $(sort $(patsubst test/%.c,%,$(wildcard test/test_*.c)))
SHARED_TESTS := $(patsubst test/%.c,%,$(shell grep -L '^.include "\.\./internal\.h"' $(TESTS:%=test/%.c)))
FAILS := $(sort $(patsubst test/%.c,%,$(wildcard test/fail_*.c)))
TOOLS := $(filter-out support_%,$(sort $(patsubst test/%.c,%,$(wildcard test/*_tool.c))))
NODE_TESTS := $(sort $(wildcard test/*.test.mjs))
with_threads = $(patsubst test/%.c,%,$(shell grep -lE 'pthread_create|dynalock_lock_' $(1:%=test/%.c) /dev/null))
THREADED_UNITS := $(call with_threads,$(UNITS))
THREADED_TESTS := $(call with_threads,$(TESTS))

# Gates that take an argument run once for each.
gate_args_warnings := gcc clang
gate_args_header := gcc clang
GATES := $(sort $(patsubst test/gates/%.sh,%,$(wildcard test/gates/*.sh)))

# One line for each run: kind, variant, what to run, its argument. ONLY=part keeps what has it in its name.
only = $(if $(ONLY),$(foreach item,$(1),$(if $(findstring $(ONLY),$(item)),$(item))),$(1))
runs = $(foreach program,$(call only,$(4)),$(1)|$(2)|build/$(3)/test/$(program)|)
# Each fuzzer, on what is kept of its earlier runs.
fuzz_runs = $(foreach fuzzer,$(call only,$(FUZZERS)),unit|fuzz|build/asan/fuzz/$(fuzzer)|)
gate_runs = $(foreach gate,$(call only,$(GATES)),$(foreach arg,$(or $(gate_args_$(gate)),-),gate|-|test/gates/$(gate).sh|$(arg)))

OFFLINE_RUNS = $(call runs,unit,static,release,$(UNITS)) $(call runs,unit,asan,asan,$(UNITS)) \
	$(call runs,unit,clang,clang,$(UNITS)) $(call runs,unit,tsan,tsan,$(THREADED_UNITS)) \
	$(call runs,unit,fail,asan,$(FAILS)) $(fuzz_runs) $(gate_runs)
# On both servers, as built for use (the shared library on one, the static one on the other) and with the address
# sanitizer; on one, what is about other things than DynamoDB, the other ways to link the library, and the thread
# sanitizer.
CREDENTIALS_TESTS := test_credentials test_hostile_caller test_hostile_server test_providers test_refresh test_rotation \
	test_throttle test_tls
on_servers = $(call runs,rig,$(1),$(2),$(filter-out $(CREDENTIALS_TESTS),$(3))) \
	$(call runs,dynalite,$(1),$(2),$(filter $(CREDENTIALS_TESTS),$(3)))
# What is about the other end takes long there, and threads have no part in it.
TSAN_TESTS = $(filter-out test_tls test_hostile_server,$(THREADED_TESTS))
# The shared library is made of the two files, too, and is put to all tests.
TWO_FILES_TESTS := $(filter test_events test_guest test_kv test_lock test_open,$(SHARED_TESTS))
RIG_RUNS = $(call runs,local,shared,shared,$(SHARED_TESTS)) $(call runs,dynalite,static,release,$(TESTS)) \
	$(call runs,local,static,release,$(filter-out $(SHARED_TESTS) $(CREDENTIALS_TESTS),$(TESTS))) \
	$(call runs,dynalite,two-files,two-files,$(TWO_FILES_TESTS) two_copies) \
	$(call on_servers,asan,asan,$(TESTS)) $(call runs,dynalite,tsan,tsan,$(TSAN_TESTS)) \
	$(foreach test,$(call only,$(NODE_TESTS)),node|-|$(test)|) $(if $(ONLY),,raised|-|dynalock.h|)
# On one server: it makes no difference to them. Debian 11 is about its libraries, i386 about its numbers; without what
# has nothing to do with these and takes long.
BULLSEYE_TESTS = $(filter-out test_refresh test_rotation test_throttle test_credentials test_clock test_go \
	test_lock_faults test_lock_lost test_lock_takeover test_lock_threads test_scene_clock test_scene_network \
	test_scene_process test_scene_stranger test_hostile_caller test_hostile_record test_hostile_server \
	test_hostile_writer,$(TESTS))
I386_TESTS = $(filter test_client_answers test_clock test_guest test_kv test_list test_lock test_lost test_open test_record \
	test_scene_stranger test_table test_tls test_values,$(TESTS))
SYSTEM_RUNS = $(foreach system,$(SYSTEMS),$(call runs,unit,$(system),$(system),$(UNITS))) \
	$(if $(SYSTEMS),$(call runs,dynalite,bullseye,bullseye,$(BULLSEYE_TESTS)) $(call runs,dynalite,i386,i386,$(I386_TESTS)))

programs = $(filter build/%,$(foreach run,$(1),$(word 3,$(subst |, ,$(run)))))
OFFLINE_PROGRAMS = $(call programs,$(OFFLINE_RUNS))
RIG_PROGRAMS = $(call programs,$(RIG_RUNS) $(SYSTEM_RUNS))
TOOL_PROGRAMS = $(TOOLS:%=build/release/test/%)

# The public tests once more, with the shared library in the place of the static one. A privileged program's
# $ORIGIN is not asked.
$(SHARED_TESTS:%=build/shared/test/%): build/shared/test/%: build/release/test/%.o \
		build/release/test/libsupport.a build/release/$(SHARED)
	@mkdir -p $(@D)
	$(CC) -pthread $(CFLAGS) $(LDFLAGS) -o $@ $(filter-out %.so.$(VERSION),$^) -Lbuild/release -ldynalock \
		-Wl,-rpath,'$$ORIGIN/../../release:$(CURDIR)/build/release' $(CMOCKA_LIBS) $(DEPS_LIBS) -lm

# And with the two files, compiled as a project does that has taken them in.
build/two-files/dynalock.o: build/amalgamation/dynalock.c build/release/flags
	@mkdir -p $(@D)/test
	$(CC) $(CPPFLAGS) $(CFLAGS) $(DEPS_CFLAGS) -c -o $@ $<

$(TWO_FILES_TESTS:%=build/two-files/test/%): build/two-files/test/%: build/release/test/%.o \
		build/release/test/libsupport.a build/two-files/dynalock.o
	$(CC) -pthread $(CFLAGS) $(LDFLAGS) -o $@ $^ $(CMOCKA_LIBS) $(DEPS_LIBS) -lm

# Two copies in one program: two_copies_user.c as it is and, once more, with the two files in it; see there.
build/two-files/vendored_copy.o: test/two_copies_user.c test/two_copies.h test/rig.h build/amalgamation/dynalock.c \
		build/release/flags
	@mkdir -p $(@D)/test
	$(CC) $(CPPFLAGS) -std=gnu11 $(BASE_CFLAGS) -Itest $(CFLAGS) -DCOPY=vendored_copy -DDYNALOCK_API=static \
		-include build/amalgamation/dynalock.c -c -o $@ $<

build/two-files/test/two_copies: build/release/test/two_copies.o build/release/test/two_copies_user.o \
		build/two-files/vendored_copy.o build/release/test/libsupport.a build/release/$(SHARED)
	$(CC) -pthread $(CFLAGS) $(LDFLAGS) -o $@ $(filter-out %.so.$(VERSION),$^) -Lbuild/release -ldynalock \
		-Wl,-rpath,'$$ORIGIN/../../release' $(CMOCKA_LIBS) $(DEPS_LIBS) -lm

write_runs = mkdir -p build && printf '%s\n' $(foreach run,$(1),'$(run)') >build/runs

# A locale with a decimal comma, for the tests of numbers; Debian has what it is made of in the package locales.
build/locale/de_DE.UTF-8:
	mkdir -p $(@D)
	localedef -i de_DE -f UTF-8 $@

build-check: all examples build/locale/de_DE.UTF-8 $(OFFLINE_PROGRAMS) $(RIG_PROGRAMS) $(TOOL_PROGRAMS) \
	$(SOAK_CONTENDERS) build/asan/dynalock
build-check-offline: all examples build/locale/de_DE.UTF-8 $(OFFLINE_PROGRAMS)

NODE := tools/node

# A part that does not compile is no reason to stop: the runner counts what is not there as failed.
parallel = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
build_all = $(MAKE) -sk $(parallel) $(1) >build/log 2>&1 || cat build/log
# The gates that call make again do it with the same variables, or it would build anew.
run_environment = exec env CC='$(CC)' CXX='$(CXX)' AR='$(AR)' CLANG='$(CLANG)' PKG_CONFIG='$(PKG_CONFIG)' \
	CFLAGS='$(CFLAGS)' CXXFLAGS='$(CXXFLAGS)' CPPFLAGS='$(CPPFLAGS)' LDFLAGS='$(LDFLAGS)' MAKE='$(MAKE)' MAKEFLAGS= MFLAGS=

check:
	@tools/deps check || { echo 'tools/deps check failed: nothing was tested'; echo '0 passed, 1 failed'; exit 1; }
	@$(call write_runs,$(OFFLINE_RUNS) $(RIG_RUNS) $(SYSTEM_RUNS))
	@echo 'Building; what the compilers say is in build/log'
	@+$(call build_all,build-check)
	@$(run_environment) $(NODE) test/run.mjs build/runs

check-offline:
	@$(call write_runs,$(OFFLINE_RUNS))
	@echo 'Building; what the compilers say is in build/log'
	@+$(call build_all,build-check-offline)
	@$(run_environment) test/run-offline build/runs \
		'test programs that need a server: $(or $(strip $(TESTS)),none)' \
		'tests in JavaScript: $(or $(NODE_TESTS),none)'

# For a change that programs built before survive; see tools/abi.
abi:
	@tools/deps check
	tools/abi test/abi

memcheck: $(UNITS:%=build/release/test/%) build/locale/de_DE.UTF-8
	sh test/gates/memcheck.sh all

# Faults, stops and kills for so long, on each server; test/soak/main.mjs tells.
MINUTES ?= 20
SERVERS ?= local dynalite
soak: $(SOAK_CONTENDERS)
	@tools/deps check
	@status=0; for server in $(SERVERS); do \
		$(NODE) test/soak/main.mjs --minutes $(MINUTES) --server $$server --tenures $$(($(MINUTES) * 500)) \
			--faults $$(($(MINUTES) * 5)) $(if $(SEED),--seed $(SEED)) || status=1; done; exit $$status

# All points at which what the library depends on can fail; make check tries but some where each takes time.
sweep: $(FAILS:%=build/asan/test/%)
	@status=0; for program in $^; do echo "$$program"; env -i PATH="$$PATH" HOME=/nonexistent DYNALOCK_TEST_SWEEP=full \
		CMOCKA_MESSAGE_OUTPUT=TAP ASAN_OPTIONS=detect_stack_use_after_return=1:allocator_may_return_null=1 \
		$$program || status=1; done; exit $$status

# Each guard of the library taken out in turn: the tests have to notice.
guards:
	@tools/deps check
	@$(run_environment) ONLY='$(ONLY)' SOAK='$(SOAK)' $(NODE) test/guards/run.mjs

# The model of the lock's protocol, and what becomes of it without each guard: docs/model.md.
model:
	@tools/deps check
	@CC='$(CC)' nice model/run $(RUN)

deps:
	tools/deps build

# A shell to try the command in, with a server of its own.
try:
	tools/deps demo
	$(MAKE) all
	tools/try || : # the status of the last command in it

demo:
	tools/deps demo
	$(MAKE) all build/release/examples/competing-consumers
	tools/demo

# ---- Installation -------------------------------------------------------------------------------

# Any path will do for DESTDIR. Not all that dynalock.pc has to name can be written there.
install: all
	@case $(call quote,$(prefix)$(libdir)$(includedir)) in *[\"\\\#\$$\(\)]*) \
		echo 'make install: dynalock.pc cannot name a folder with one of " \ # $$ ( ) in its path' >&2; exit 1 ;; esac
	$(INSTALL) -d $(call at,$(includedir)) $(call at,$(libdir)) $(call at,$(pkgconfigdir))
	$(INSTALL) -m 644 dynalock.h $(call at,$(includedir)/dynalock.h)
	$(INSTALL) -m 644 build/release/libdynalock.a $(call at,$(libdir)/libdynalock.a)
	$(INSTALL) -m 755 build/release/$(SHARED) $(call at,$(libdir)/$(SHARED))
	ln -sf $(SHARED) $(call at,$(libdir)/$(SONAME))
	ln -sf $(SONAME) $(call at,$(libdir)/libdynalock.so)
	sed -e $(call put_in,prefix,$(prefix)) -e $(call put_in,libdir,$(call in_prefix,$(libdir))) \
		-e $(call put_in,includedir,$(call in_prefix,$(includedir))) -e $(call put_in,version,$(VERSION)) \
		pkg-config/dynalock.pc.in >$(call at,$(pkgconfigdir)/dynalock.pc)
	chmod 644 $(call at,$(pkgconfigdir)/dynalock.pc)
	$(INSTALL_CMAKE)
	$(INSTALL) -D -m 755 build/release/dynalock $(call at,$(bindir)/dynalock)
	$(INSTALL) -D -m 644 command/dynalock.bash $(call at,$(completionsdir)/dynalock)
	$(foreach page,$(MAN_PAGES),$(INSTALL) -D -m 644 $(page) $(call at,$(mandir)/$(call man_path,$(page))) &&) :
	$(foreach link,$(MAN_LINKS),ln -sf $(call link_to,$(link)) $(call link_name,$(link)) &&) :

quote = '$(subst ','\'',$(1))'
at = $(call quote,$(DESTDIR)$(1))
put_in = $(call quote,s|@$(1)@|$(subst &,\&,$(subst |,\|,$(2)))|)
in_prefix = $(if $(findstring <$(prefix)/,<$(1)),$${prefix}$(subst <$(prefix),,<$(1)),$(1))
man_path = man$(subst .,,$(suffix $(1)))/$(notdir $(1))
# dynalock_list.3 is dynalock_get.3, and so on: a page stands under each of its names. NAME:PAGE.
man_names = $(filter-out $(basename $(notdir $(1))),$(shell sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([a-z0-9_]*\).*/\1/p' $(1)))
MAN_LINKS = $(call once,MAN_LINKS,$(foreach page,$(filter %.3,$(MAN_PAGES)),$(addsuffix :$(page),$(call man_names,$(page)))))
link_name = $(call at,$(mandir)/man3/$(firstword $(subst :, ,$(1))).3)
link_to = $(notdir $(lastword $(subst :, ,$(1))))

uninstall:
	rm -f $(call at,$(includedir)/dynalock.h) $(call at,$(libdir)/libdynalock.a) \
		$(foreach name,$(SHARED) $(SONAME) libdynalock.so,$(call at,$(libdir)/$(name))) \
		$(call at,$(pkgconfigdir)/dynalock.pc) \
		$(foreach page,$(MAN_PAGES),$(call at,$(mandir)/$(call man_path,$(page)))) \
		$(foreach link,$(MAN_LINKS),$(call link_name,$(link))) \
		$(call at,$(bindir)/dynalock) $(call at,$(completionsdir)/dynalock)
	$(UNINSTALL_CMAKE)

# Builds test/consumer.c as C and as C++ against what is installed, shared and static, and runs it.
installcheck:
	CC='$(CC)' CXX='$(CXX)' PKG_CONFIG='$(PKG_CONFIG)' tools/check-installed $(call quote,$(DESTDIR)) \
		$(call quote,$(pkgconfigdir)) '$(VERSION)'

# ---- Coverage -----------------------------------------------------------------------------------

-include test/coverage/rules.mk

# ---- Bench --------------------------------------------------------------------------------------

-include bench/rules.mk

# ---- Packages -----------------------------------------------------------------------------------

-include packaging/rules.mk

# ---- The rest -----------------------------------------------------------------------------------

format:
	clang-format -i $(wildcard *.[ch] command/*.[ch] test/*.[ch] test/soak/*.c fuzz/*.[ch] bench/*.[ch] examples/*.[ch] examples/*.cpp examples/*/*.[ch])

clean:
	rm -rf build

help:
	@echo 'make                the shared and the static library, in build/release'
	@echo 'make check          everything there is to check: libraries, packages and servers are fetched first'
	@echo 'make check ONLY=x   the same, of what has x in its name'
	@echo 'make coverage       which lines of the library and the command the tests run: five minutes'
	@echo 'make abi            writes down what programs rely on, test/abi; the tests compare with it'
	@echo 'make memcheck       the unit tests under valgrind, all of them: a minute'
	@echo 'make guards         what the tests say when a guard of the library is taken out, one by one: half an hour'
	@echo 'make fuzz SECONDS=n the fuzzers, for so long each; FUZZ=part: those with it in their names'
	@echo 'make sweep          every failure of memory, libcurl, OpenSSL, jansson and the system, one by one: half an hour'
	@echo 'make model          spin checks the model of the lock: half an hour; RUN=short: one'
	@echo 'make check-offline  what needs neither network, root, servers nor Node'
	@echo 'make soak MINUTES=n faults, stops and kills for so long, on each server; then what they believed is judged'
	@echo 'make install        header, libraries, dynalock.pc, CMake package, command and man pages'
	@echo 'make uninstall      removes these'
	@echo 'make installcheck   compiles and runs programs with the installed library'
	@echo 'make amalgamation   the library as two files, build/amalgamation/dynalock.c and dynalock.h'
	@echo 'make dist           build/dynalock-VERSION.tar.gz; the same files make the same bytes'
	@echo 'make distcheck      the same, and builds, tests, installs and removes it on its own'
	@echo 'make deb            Debian packages, in build/deb'
	@echo 'make check-units    the unit tests, as built for use: for the builds of packages'
	@echo 'make bench          what it costs, against raw libcurl; make bench-plots draws it'
	@echo 'make examples       the programs of examples/, in build/release/examples'
	@echo 'make demo           three processes compete for four locks, on a server of their own'
	@echo 'make try            a shell with the command in its PATH, and a server of its own'
	@echo 'make deps           installs what a build needs (Debian)'
	@echo 'make format         lays out the C files with clang-format'
	@echo 'make clean          removes build/'
	@echo
	@echo 'Variables: prefix (PREFIX) exec_prefix bindir libdir includedir mandir pkgconfigdir cmakedir completionsdir DESTDIR'
	@echo '           CC CXX AR CPPFLAGS CFLAGS CXXFLAGS LDFLAGS PKG_CONFIG INSTALL; CLANG, for the checks'
	@echo '           SHARED_CFLAGS, of the shared library, which is built for size'
