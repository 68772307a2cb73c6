# What can be done here, in the order a newcomer does it.

.DEFAULT_GOAL := help
SHELL := /bin/bash

# Debian keeps static libraries in a folder of the machine's kind.
export LIBSECCOMP_LIB_PATH ?= /usr/lib/$(shell gcc -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)

TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
BUILT := target/$(TARGET)/debug
RELEASE := target/$(TARGET)/release
# What releases are optimised for. A newer compiler reads it too, an older one refuses it.
PROFILE := $(CURDIR)/shim/skiff.profdata

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install what is needed and missing (Debian packages, Rust targets)
	@tests/setup

build: setup ## build shim and CLI for trying and testing
	cargo build --workspace

images: setup ## build the sample applications and the guests of the tests
	cargo run --manifest-path images/builder/Cargo.toml --target-dir target/builder

tools: setup ## build the containerd versions that the tests run against
	cargo run --bin tools

run: build images tools ## start a pod of a Wasm application under a real containerd and ask it
	cargo run --bin demo

test: format build images tools lint ## prove everything that can be proven without a cluster
	cargo test --workspace

format: ## whether everything is formatted as rustfmt does
	cargo fmt --all --check

lint: setup format ## formatting and lints
	cargo clippy --workspace --all-targets -- -D warnings

deny: ## check licences and advisories (needs cargo-deny)
	cargo deny check

foreign: build ## build guests with the toolchains of public registries, and compare with wasmtime's command
	cargo run --bin foreign

installer: build images ## the installer's image, of this build
	cargo run --bin release -- image --platform $(BUILT) --out target/images/installer

cluster-test: build optimized images tools ## prove on a real Kubernetes what only a cluster can show (root)
	@tests/setup --cluster
	cargo run --bin tools -- --cluster
	cargo run --bin cluster -- --skiff $(RELEASE)/skiff
	cargo run --bin cluster -- --skiff $(RELEASE)/skiff --ipv6 pods:: installed:: spin_app

cluster-short: build images tools ## the short of it: install, one application, uninstall (root)
	@tests/setup --cluster
	cargo run --bin cluster -- --short

optimized: setup ## what a node runs, for this machine (five minutes of linking)
	cargo build --release -p containerd-shim-skiff \
		--config 'target.$(TARGET).rustflags=["-Cprofile-use=$(PROFILE)", "-Cllvm-args=-no-pgo-warn-mismatch"]'

release: setup ## everything that a release ships, for all platforms, into target/dist (an hour on two cores)
	cargo run --bin release -- dist

profile: setup images ## learn anew what releases are optimised for (half an hour; after changes to the request path)
	tests/bench/profile

bench: optimized images tools ## measure ourselves beside the others, in one run
	@test -x target/tools/wasmtime/bin/wasmtime || cargo run --bin bench -- --setup
	cargo run --bin bench -- --skiff $(RELEASE)/skiff --readme README.md

.PHONY: help setup build images tools run test format lint deny foreign installer cluster-test cluster-short optimized release profile bench
