#!/bin/bash
# Tools: Go for wasip1 (seen with 1.26.8), run by the WASI of Node.js 20.20, which gives no socket.
#
# The guess: WASI 0.1 cannot open a socket, so net.Listen returns an error, and a server ends at once.
# What happens: package net has a network of its own inside of the program. net.Listen succeeds and
# names the address, a client in the same program gets its answer from it, and nothing is asked of
# the host: a server that was built for wasip1 seems to run, and nobody outside reaches it.
# Seen on 2026-11-28: "listening on 127.0.0.1:8080", and a GET from inside with an answer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >go.mod <<'MOD'
module listen

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"net"
	"net/http"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("listening on", listener.Addr())
	go http.Serve(listener, http.NotFoundHandler())
	answer, err := http.Get("http://127.0.0.1:8080/")
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("answer", answer.StatusCode)
}
GO
cat >run.mjs <<'JS'
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';
const wasi = new WASI({ version: 'preview1', args: ['main'] });
const module = await WebAssembly.compile(await readFile('main.wasm'));
const names = WebAssembly.Module.imports(module).map(({ name }) => name);
console.log('imports of sockets:', names.filter((name) => name.startsWith('sock_')).join(' ') || 'none');
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
JS
GOOS=wasip1 GOARCH=wasm go build -o main.wasm .
node --no-warnings run.mjs | tee out
grep -q "listening on 127.0.0.1:8080" out || { echo "CHANGED: net.Listen fails"; exit 1; }
grep -q "answer 404" out || { echo "CHANGED: no answer from inside"; exit 1; }
echo "as noted: net.Listen succeeds without a socket"
