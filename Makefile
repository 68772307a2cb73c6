# What can be done here, in the order a newcomer does it.

.DEFAULT_GOAL := help
SHELL := /bin/bash

# Debian keeps static libraries in a folder of the machine's kind.
export LIBSECCOMP_LIB_PATH ?= /usr/lib/$(shell gcc -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)

TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
BUILT := target/$(TARGET)/debug
RELEASE := target/$(TARGET)/release

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install what is needed and missing (Debian packages, Rust targets)
	@tests/setup

build: setup ## build shim and CLI for trying and testing
	cargo build --workspace

images: setup ## build the sample applications and the guests of the tests
	cargo run --manifest-path images/builder/Cargo.toml --target-dir target/builder

tools: setup ## build the containerd versions that the tests run against
	cargo run -p skiff-test-support --bin tools

run: build images tools ## start a pod of a Wasm application under a real containerd and ask it
	cargo run -p skiff-suite --bin demo

test: build images tools lint ## prove everything that can be proven without a cluster
	cargo test --workspace
	cargo run -p skiff-suite --bin suite

lint: setup ## formatting, lints, licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

deny: ## check licences and advisories (needs cargo-deny)
	cargo deny check

release: setup ## build what a node runs (five minutes of linking)
	cargo build --release -p containerd-shim-skiff

bench: release images tools ## measure ourselves beside the others, in one run
	cargo run --release -p skiff-bench -- --skiff $(RELEASE)/skiff

.PHONY: help setup build images tools run test lint deny release bench
