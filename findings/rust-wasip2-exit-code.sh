#!/bin/bash
# Tools: Rust's standard library for wasm32-wasip2 and wasm32-wasip1 (seen with rustc 1.95.0), run by
# jco 1.34.0 and by the WASI of Node.js 20.20.
#
# The guess: std::process::exit(7) ends a command with 7 on either target.
# What happens: wasi:cli/exit of WASI 0.2 takes "ok" or "error" and no number, so every code but 0
# becomes 1 for a component. A core module of the same source gives 7.
# Seen on 2026-11-28: 1 from wasm32-wasip2, 7 from wasm32-wasip1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.rs <<'RUST'
fn main() {
    println!("exits with 7");
    std::process::exit(7);
}
RUST
cat >run.mjs <<'JS'
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';
const wasi = new WASI({ version: 'preview1', returnOnExit: false });
const module = await WebAssembly.compile(await readFile('wasip1.wasm'));
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
JS
for target in wasip1 wasip2; do
  rustc --edition 2021 --target "wasm32-$target" -o "$target.wasm" main.rs
done
npm install --silent --no-audit --no-fund --prefix . @bytecodealliance/jco@1.34.0
module=0 component=0
node --no-warnings run.mjs || module=$?
npx jco run wasip2.wasm >out 2>&1 || component=$?
cat out
grep -q "exits with 7" out || { echo "CHANGED: the component did not run"; exit 1; }
echo "module: $module, component: $component"
((module == 7 && component == 1)) || { echo "CHANGED: other codes"; exit 1; }
echo "as noted: a component's exit code 7 becomes 1"
