#!/bin/bash
# Tools: Go for wasip1 (seen with 1.26.8), run by the WASI of Node.js 20.20.
#
# The guess: WASI has no call for a file's mode, so os.Chmod returns an error (as Rust's library
# does), and os.Stat tells the mode that the host has.
# What happens: os.Chmod looks whether the file exists, returns nil and changes nothing. os.Stat makes
# up -rw------- for every file.
# Seen on 2026-11-28: nil, then -rw-------, and 755 at the host before and after.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >go.mod <<'MOD'
module chmod

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Println("chmod:", os.Chmod("/data/hosts", 0o400))
	info, err := os.Stat("/data/hosts")
	fmt.Println("stat:", info.Mode(), err)
}
GO
cat >run.mjs <<'JS'
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';
const wasi = new WASI({ version: 'preview1', args: ['main'], preopens: { '/data': 'data' } });
const module = await WebAssembly.compile(await readFile('main.wasm'));
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
JS
mkdir data
echo hello >data/hosts
chmod 755 data/hosts
GOOS=wasip1 GOARCH=wasm go build -o main.wasm .
node --no-warnings run.mjs | tee out
echo "the host's mode: $(stat --format %a data/hosts)" | tee -a out
cat >expected <<'TEXT'
chmod: <nil>
stat: -rw------- <nil>
the host's mode: 755
TEXT
cmp --silent out expected || { echo "CHANGED: other answers"; exit 1; }
echo "as noted: os.Chmod says nil and does nothing"
