#!/bin/bash
# Tools: Rust's standard library for wasm32-wasip1 (seen with rustc 1.95.0), run by the WASI of
# Node.js (seen with 20.20).
#
# The guess: std::env::temp_dir() gives some path, as it does elsewhere even where nothing exists
# there; its documentation names no panic.
# What happens: it panics, whatever the environment says, so every crate that asks for a folder
# for temporary files takes its program down.
# Seen on 2026-11-28: "panicked at ... no filesystem on wasm", and the module traps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.rs <<'RUST'
fn main() {
    println!("before");
    println!("{}", std::env::temp_dir().display());
}
RUST
cat >run.mjs <<'JS'
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';
const wasi = new WASI({ version: 'preview1', args: ['main'], env: { TMPDIR: '/tmp' } });
const module = await WebAssembly.compile(await readFile('main.wasm'));
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
JS
rustc --edition 2021 --target wasm32-wasip1 -o main.wasm main.rs
code=0
node --no-warnings run.mjs >out 2>err || code=$?
cat out err
[[ $(cat out) == before ]] || { echo "CHANGED: it printed something else than before"; exit 1; }
grep -q "panicked" err && ((code != 0)) || { echo "CHANGED: it no longer panics"; exit 1; }
echo "as noted: temp_dir() panics"
