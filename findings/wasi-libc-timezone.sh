#!/bin/bash
# Tools: wasi-libc as ziglang 0.15.2 of PyPI brings it, run by the WASI of Node.js 20.20.
#
# The guess: localtime() reads TZ, as POSIX has it; a zone such as JST-9 needs no files and the
# variable reaches the guest, so local time is nine hours ahead.
# What happens: TZ is there and is not looked at. localtime() is gmtime() and names its zone UTC.
# Seen on 2026-11-28: hour 0 at the epoch with TZ=JST-9; "date" on the host has hour 9.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(void) {
  time_t epoch = 0;
  struct tm *local = localtime(&epoch);
  printf("%s hour %d\n", getenv("TZ"), local->tm_hour);
}
C
cat >run.mjs <<'JS'
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';
const wasi = new WASI({ version: 'preview1', args: ['main'], env: { TZ: 'JST-9' } });
const module = await WebAssembly.compile(await readFile('main.wasm'));
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
JS
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check ziglang==0.15.2
export ZIG_GLOBAL_CACHE_DIR="$folder/cache" ZIG_LOCAL_CACHE_DIR="$folder/cache"
env/bin/python -m ziglang cc -O1 -target wasm32-wasi -o main.wasm main.c
host=$(TZ=JST-9 date -d @0 "+JST-9 hour %-H")
guest=$(node --no-warnings run.mjs)
echo "host: $host, guest: $guest"
[[ $host == "JST-9 hour 9" ]] || { echo "the host itself does not read TZ"; exit 1; }
[[ $guest == "JST-9 hour 0" ]] || { echo "CHANGED: localtime() reads TZ"; exit 1; }
echo "as noted: localtime() does not look at TZ"
