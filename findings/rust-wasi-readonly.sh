#!/bin/bash
# Tools: Rust's standard library for wasm32-wasip1 (seen with rustc 1.95.0), run by the WASI of
# Node.js 20.20. wasm32-wasip2 does the same under wasmtime.
#
# The guess: where a system has no modes, Permissions::readonly() is false, or it is asked of the
# host; and permissions that were just read can be set again.
# What happens: WASI tells no mode, the library takes that for a mode of 0, and every file is
# read-only, also one that the program wrote a moment ago and writes again. Setting the very
# permissions that were read is refused: "Function not implemented".
# Seen on 2026-11-28: true, true (for a folder), writing works, and Unsupported.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.rs <<'RUST'
use std::fs;

fn main() {
    fs::write("/data/a", "one").unwrap();
    let permissions = fs::metadata("/data/a").unwrap().permissions();
    println!("file {}", permissions.readonly());
    println!("folder {}", fs::metadata("/data").unwrap().permissions().readonly());
    println!("write {}", fs::write("/data/a", "two").is_ok());
    println!("set {:?}", fs::set_permissions("/data/a", permissions).map_err(|e| e.kind()));
}
RUST
cat >run.mjs <<'JS'
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';
const wasi = new WASI({ version: 'preview1', args: ['main'], preopens: { '/data': 'data' } });
const module = await WebAssembly.compile(await readFile('main.wasm'));
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
JS
mkdir data
rustc --edition 2021 --target wasm32-wasip1 -o main.wasm main.rs
node --no-warnings run.mjs | tee out
cat >expected <<'TEXT'
file true
folder true
write true
set Err(Unsupported)
TEXT
cmp --silent out expected || { echo "CHANGED: other permissions"; exit 1; }
[[ $(cat data/a) == two ]] || { echo "CHANGED: the second write is not there"; exit 1; }
echo "as noted: every file is read-only, and can be written"
