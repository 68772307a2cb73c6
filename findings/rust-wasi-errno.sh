#!/bin/bash
# Tools: Rust's standard library for wasm32-wasip1 (seen with rustc 1.95.0), run by the WASI of
# Node.js 20.20.
#
# The guess: the numbers of errors are Unix's (ENOENT is 2, EACCES 13), and a path that leads out of
# the folders that the host gave is ErrorKind::PermissionDenied or NotFound.
# What happens: WASI numbers its errors by their names, so ENOENT is 44, and 2 is EACCES: code that
# compares raw_os_error() with 2 takes a refusal for a missing file. A path that leads out is an
# error of WASI's own, 76, for which the library has no kind at all.
# Seen on 2026-11-28: NotFound 44; Uncategorized 76, "Capabilities insufficient".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.rs <<'RUST'
fn main() {
    for path in ["/data/missing", "/data/../missing"] {
        let error = std::fs::read(path).unwrap_err();
        println!("{path}: {:?} {:?}", error.kind(), error.raw_os_error());
    }
    println!("2 is {:?}", std::io::Error::from_raw_os_error(2).kind());
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
/data/missing: NotFound Some(44)
/data/../missing: Uncategorized Some(76)
2 is PermissionDenied
TEXT
cmp --silent out expected || { echo "CHANGED: other numbers or kinds"; exit 1; }
echo "as noted: WASI's errors have numbers of their own"
