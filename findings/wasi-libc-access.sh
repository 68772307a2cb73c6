#!/bin/bash
# Tools: wasi-libc as ziglang 0.15.2 of PyPI brings it; run by the package wasmtime 50.0.1 of PyPI.
#
# The guess: access(path, W_OK) tells whether a write would work; at the least it fails in a folder
# that the host gave for reading only.
# What happens: it tells whether the file exists. Writing is said to be allowed, and then fopen()
# is refused; executing is said to be allowed for a text file too.
# Seen on 2026-11-28: 0 for R_OK, W_OK and X_OK, -1 for a missing file; fopen(path, "r+") is null.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.c <<'C'
#include <stdio.h>
#include <unistd.h>

int main(void) {
  printf("access %d %d %d\n", access("/data/a", R_OK), access("/data/a", W_OK), access("/data/a", X_OK));
  printf("missing %d\n", access("/data/b", W_OK));
  printf("opens to write %d\n", fopen("/data/a", "r+") != NULL);
  printf("opens to read %d\n", fopen("/data/a", "r") != NULL);
}
C
cat >run.py <<'PYTHON'
from wasmtime import Engine, Linker, Module, Store, WasiConfig

engine = Engine()
linker, store, wasi = Linker(engine), Store(engine), WasiConfig()
linker.define_wasi()
wasi.inherit_stdout()
wasi.preopen_dir("data", "/data", fs_mutable=False)
store.set_wasi(wasi)
linker.instantiate(store, Module.from_file(engine, "main.wasm")).exports(store)["_start"](store)
PYTHON
mkdir data
echo hello >data/a
chmod 644 data/a
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check ziglang==0.15.2 wasmtime==50.0.1
export ZIG_GLOBAL_CACHE_DIR="$folder/cache" ZIG_LOCAL_CACHE_DIR="$folder/cache"
env/bin/python -m ziglang cc -O1 -target wasm32-wasi -o main.wasm main.c
env/bin/python run.py | tee out
cat >expected <<'TEXT'
access 0 0 0
missing -1
opens to write 0
opens to read 1
TEXT
cmp --silent out expected || { echo "CHANGED: other answers"; exit 1; }
echo "as noted: access() allows all that exists"
