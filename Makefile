# The tasks of this repository, in the order in which a newcomer needs them.

.DEFAULT_GOAL := help
SHELL := /bin/bash

# Debian's folder of static libraries is named after the machine's architecture.
export LIBSECCOMP_LIB_PATH ?= /usr/lib/$(shell gcc -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)

# The compiler that `rust-toolchain.toml` names comes first; not every rustup installs it unasked.
TARGET := $(shell { rustc -vV 2>/dev/null || { rustup toolchain install --no-self-update >&2 && rustc -vV; }; } \
	| sed -n 's/^host: //p')
BUILT := target/$(TARGET)/debug
RELEASE := target/$(TARGET)/release
# The profile of releases. Newer compilers read it too, older ones refuse it.
PROFILE := $(CURDIR)/shim/skiff.profdata

# The instrumentation for libFuzzer; `cargo fuzz` would set the same.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
FUZZ_TARGETS := $(notdir $(wildcard tests/fuzz/seeds/*))
EACH ?= 3600

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install missing tools (Debian packages, Rust targets)
	@tests/setup

build: setup ## build shim and CLI for development
	cargo build --workspace

images: setup ## build the sample applications and the guests of the tests
	cargo run --manifest-path images/builder/Cargo.toml --target-dir target/builder

tools: setup ## build the containerd versions that the tests run against
	cargo run --bin tools

run: ## start a pod of a Wasm application under a real containerd and send it a request
	@tests/setup --run
	cargo build --workspace --bin skiff --bin demo
	cargo run --manifest-path images/builder/Cargo.toml --target-dir target/builder hello-rust
	$(BUILT)/demo

test: format build images tools lint ## run everything that needs no cluster
	cargo test --workspace --no-fail-fast

hostile: build images tools ## broken and hostile artifacts, guests, clients and machines, as in `make test`
	cargo test --workspace --test corpus
	cargo test --workspace --test containerd_2 -- refusals:: images:: keeping::

fuzz: setup ## fuzz every parser, for EACH=3600 seconds
	RUSTFLAGS='$(FUZZ_FLAGS)' cargo build --release --manifest-path tests/fuzz/Cargo.toml --target-dir target/fuzz
	@set -e; for target in $(FUZZ_TARGETS); do \
		mkdir -p target/fuzz/corpus/$$target; echo "fuzz $$target for $(EACH) s"; \
		target/fuzz/$(TARGET)/release/$$target -max_total_time=$(EACH) -timeout=20 -max_len=65536 -verbosity=0 \
			-artifact_prefix=target/fuzz/$$target- target/fuzz/corpus/$$target tests/fuzz/seeds/$$target; \
	done

format: ## check the formatting with rustfmt
	cargo fmt --all --check

lint: setup format ## formatting and lints
	cargo clippy --workspace --all-targets -- -D warnings

deny: ## check licences and advisories (needs cargo-deny)
	cargo deny check

engine: ## what must hold after an engine upgrade (an hour on two cores)
	$(MAKE) test
	$(MAKE) fuzz EACH=60
	$(MAKE) foreign

foreign: build ## build guests with the toolchains of public registries, and compare with wasmtime's command
	cargo run --bin foreign

installer: build images ## the installer's image, of this build
	cargo run --bin release -- image --platform $(BUILT) --out target/images/installer

cluster-test: build optimized images tools ## test what only a real Kubernetes can show (root)
	@tests/setup --cluster
	cargo run --bin tools -- --cluster
	cargo run --bin cluster -- --skiff $(RELEASE)/skiff
	cargo run --bin cluster -- --skiff $(RELEASE)/skiff --ipv6 pods:: installed:: spin_app

cluster-short: build images tools ## the short version: install, one application, uninstall (root)
	@tests/setup --cluster
	cargo run --bin cluster -- --short

optimized: setup ## build the optimised release for this machine (five minutes of linking)
	cargo build --release -p containerd-shim-skiff \
		--config 'target.$(TARGET).rustflags=["-Cprofile-use=$(PROFILE)", "-Cllvm-args=-no-pgo-warn-mismatch"]'

release: setup ## all files of a release, for all platforms, into target/dist (an hour on two cores)
	cargo run --bin release -- dist

profile: setup images ## take the profile for releases again (half an hour; after changes to the request path)
	tests/bench/profile

bench: optimized images tools ## compare Skiff with the others, in one run
	@test -x target/tools/wasmtime/bin/wasmtime || cargo run --bin bench -- --setup
	cargo run --bin bench -- --skiff $(RELEASE)/skiff --page docs/performance.md

.PHONY: help setup build images tools run test hostile foreign fuzz format lint deny engine installer cluster-test cluster-short optimized release profile bench
