# SPDX-License-Identifier: Apache-2.0
# Short names for Meson's commands; `make help` lists them.
MAKEFLAGS += --no-print-directory
BUILD := build/release
PREFIX ?= /usr/local
DESTDIR ?=
JOBS := $(shell nproc)
# A UCX of the site: make UCX=/its/prefix
UCX ?=
PC := $(if $(UCX),--pkg-config-path=$(UCX)/lib/pkgconfig)

.PHONY: all
all: $(BUILD)/build.ninja ## build everything, after installing what it needs
	meson compile -C $(BUILD)

$(BUILD)/build.ninja:
	tools/bootstrap
	meson setup $(BUILD) --prefix=$(PREFIX) $(PC)

.PHONY: test
test: all ## run every test
	meson test -C $(BUILD) --print-errorlogs

.PHONY: demo
demo: all ## two workers move real files; ends non-zero if a byte differs
	tools/demo $(BUILD)

.PHONY: clean
clean: ## remove what was built, and keep the unpacked UCX
	rm -rf build/release build/asan build/tsan build/fuzz build/lint

.PHONY: help
help:
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' Makefile | expand -t 16
