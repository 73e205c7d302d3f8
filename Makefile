# SPDX-License-Identifier: Apache-2.0
# Short names for Meson's commands; `make help` lists them.
MAKEFLAGS += --no-print-directory
# What is asked for is made in that order (`make deps all`); ninja uses all cores.
.NOTPARALLEL:
BUILD := build/release
PREFIX ?= /usr/local
DESTDIR ?=
# The prefix of a UCX to build against; empty: the system's, else the wheel's.
UCX ?=
# How long `make bench` may take, in minutes, and more options for bench/run.
BENCH_TIME ?=
BENCH ?=
# How long `make fuzz` runs each target, in seconds.
FUZZ_TIME ?= 10

# `make simulate`: schedules, or seconds if that is empty; and more options for the simulation.
SEEDS ?=
TIME ?= 120
SIMULATE ?=

SETUP := $(if $(UCX),--pkg-config-path=$(UCX)/lib/pkgconfig)
MESON_TEST := meson test --print-errorlogs
SANITIZER := $(CURDIR)/tests/sanitizer
# clang 14 takes thread-local memory of a library that was opened late, as UCX is, for glibc 2.19's when it
# lies 16 bytes into a page: it reads that memory's place and size from the two words before, and falls over
# them, ASan in its leak check and TSan at once ("failed to allocate 0xf618..."). With ASan's wide redzones none
# lies there; TSan need not follow such memory at all, which it sees as what malloc() gave.
ASAN := redzone=256
TSAN := halt_on_error=1:die_after_fork=0:second_deadlock_stack=1:suppressions=$(SANITIZER)/tsan.supp:atexit_sleep_ms=0
TSAN := $(TSAN):intercept_tls_get_addr=0

# After a command that failed: names the packages that are missing, if any, and what installs them.
OR_NAME_PACKAGES = || { status=$$?; tools/bootstrap check; exit $$status; }

.PHONY: all
all: $(BUILD)/build.ninja ## build everything; installs nothing
	ninja -C $(BUILD)

$(BUILD)/build.ninja: $(if $(UCX),FORCE)
	meson setup $(if $(wildcard $@),--reconfigure) $(BUILD) $(SETUP) -Dcli=enabled -Dtests=enabled $(OR_NAME_PACKAGES)

.PHONY: FORCE
FORCE:

.PHONY: deps
deps: ## install the Debian packages that are missing (as root, or with sudo)
	tools/bootstrap

# For what clang builds and checks.
.PHONY: deps-lint
deps-lint:
	tools/bootstrap lint

.PHONY: test
test: deps all ## run every test that needs no stock peer, RDMA or GPU
	tools/openapi-env || [ $$? -eq 77 ]
	status=0; $(MESON_TEST) -C $(BUILD) --no-suite interop || status=1; \
	tools/test-python || [ $$? -eq 77 ] || status=1; exit $$status

# About 150 MB of wheels the first time.
.PHONY: test-interop
test-interop: deps all ## test with stock NIXL peers, in an environment under build/
	tools/interop-env || [ $$? -eq 77 ]
	tools/interop-site || [ $$? -eq 77 ]
	$(MESON_TEST) -C $(BUILD) --suite interop

.PHONY: test-rdma
test-rdma: deps all ## test over RDMA in software, in a machine of its own (RDMA="--quick": less)
	tools/bootstrap rdma || true
	tools/interop-env || [ $$? -eq 77 ]
	tools/interop-site || [ $$? -eq 77 ]
	tests/rdma/run $(RDMA) $(BUILD) || [ $$? -eq 77 ]

.PHONY: demo
demo: deps all ## two workers move real files, and every byte is compared
	tools/demo $(BUILD)

.PHONY: demo-nats
demo-nats: deps all ## the same, with a NATS server that carries the requests
	tools/demo $(BUILD) nats

.PHONY: bench
bench: deps all ## measure beside the peers for BENCH_TIME minutes (BENCH="--quick": 4), and write docs/performance.md
	bench/run $(BUILD) $(if $(BENCH_TIME),--minutes $(BENCH_TIME)) $(BENCH)
	bench/report build/bench/result.json

.PHONY: interop-matrix
interop-matrix: deps all ## try other releases of stock NIXL, and write the table of docs/interop.md
	tools/interop-env
	tools/interop-site
	tools/interop-matrix

# Where to write all that make bench-python measures, as JSON; empty: nowhere.
BENCH_JSON ?=
.PHONY: bench-python
bench-python: deps ## measure the Python package beside stock dynamo.nixl_connect
	tools/interop-env
	tools/interop-site
	bench/python-compare $(if $(BENCH_JSON),--json $(BENCH_JSON))

.PHONY: install
install: all ## install under PREFIX (default /usr/local), staged in DESTDIR
	meson configure $(BUILD) --prefix=$(abspath $(PREFIX))
	DESTDIR=$(DESTDIR) meson install -C $(BUILD) --quiet

.PHONY: package-check
package-check: deps all ## install, move the tree elsewhere, and build programs against it
	tests/package/install --make

# The fuzzers' build is clang's, and has every file in it.
.PHONY: lint
lint: deps-lint build/fuzz/build.ninja ## clang's warnings, clang-tidy, clang-format, shellcheck, mandoc, tools/check-docs
	tools/lint build/fuzz

.PHONY: asan
asan: deps-lint build/asan/build.ninja ## run the tests under AddressSanitizer and UBSan (QUICK=yes: without variants)
	tools/openapi-env || [ $$? -eq 77 ]
	ninja -C build/asan
	ASAN_OPTIONS=$(ASAN) LSAN_OPTIONS=suppressions=$(SANITIZER)/lsan.supp:print_suppressions=0 \
	$(MESON_TEST) -C build/asan --no-suite package --no-suite interop --no-suite bench --timeout-multiplier 4 \
	    $(if $(QUICK),--no-suite variant)

build/asan/build.ninja:
	CC=clang CXX=clang++ meson setup build/asan $(SETUP) -Db_lundef=false \
	    -Db_sanitize=address,undefined

.PHONY: tsan
tsan: deps-lint build/tsan/build.ninja ## run the library's tests under ThreadSanitizer (QUICK=yes: without variants)
	ninja -C build/tsan
	TSAN_OPTIONS=$(TSAN) \
	$(MESON_TEST) -C build/tsan --timeout-multiplier 8 --suite unit --suite fuzz
	TSAN_OPTIONS=$(TSAN) $(MESON_TEST) -C build/tsan --timeout-multiplier 8 --logbase testlog-behaviour \
	    conformance-default conformance-host conformance-stream faults-default faults-host \
	    $(if $(QUICK),,conformance-tcp faults-netns soak-host)

build/tsan/build.ninja:
	CC=clang CXX=clang++ meson setup build/tsan $(SETUP) -Db_lundef=false -Db_sanitize=thread

.PHONY: fuzz
fuzz: deps-lint build/fuzz/build.ninja ## run each fuzz target for FUZZ_TIME seconds
	ninja -C build/fuzz
	tools/fuzz build/fuzz $(FUZZ_TIME)

build/fuzz/build.ninja:
	CC=clang CXX=clang++ meson setup build/fuzz $(SETUP) -Db_lundef=false \
	    -Db_sanitize=address,undefined -Dfuzz=true

.PHONY: simulate
simulate: deps $(BUILD)/build.ninja ## play SEEDS=N schedules, or TIME=S seconds of them, in a simulated world (SIMULATE="--help": more)
	ninja -C $(BUILD) tests/simulation/simulation
	$(BUILD)/tests/simulation/simulation --list tests/simulation/seeds.txt \
	    $(if $(SEEDS),--seeds $(SEEDS),--time $(TIME)) $(SIMULATE)

# About ten minutes on two cores.
.PHONY: simulate-mutants
simulate-mutants: deps $(BUILD)/build.ninja ## plant faults, one by one, and show that the simulation finds them
	ninja -C $(BUILD) tests/simulation/simulation
	tests/simulation/mutants/run $(BUILD)

.PHONY: clean
clean: ## remove what was built; the unpacked UCX stays
	rm -rf build/release build/asan build/tsan build/fuzz build/wheel build/wheel-objects build/interop-site dist

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' Makefile | expand -t 20

.PHONY: wheel
wheel: ## build the Python package into dist/; installs nothing
	tools/wheel $(OR_NAME_PACKAGES)

.PHONY: test-python
test-python: deps ## test the Python package, in an environment under build/
	tools/test-python

.PHONY: test-cuda
test-cuda: ## test memory of a GPU, and measure it, where there is one; else skip
	tools/test-cuda || [ $$? -eq 77 ]
