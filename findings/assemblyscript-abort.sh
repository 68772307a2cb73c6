#!/bin/bash
# Tools: AssemblyScript 0.28.20 with its wasi-shim 0.1.0; run by Node.js 20.20 and by the package
# wasmtime 50.0.1 of PyPI.
#
# The guess: abort() traps, or ends the program with a code that every host passes on.
# What happens: it is an exit with the code 255. Node.js passes that on; wasmtime takes only the
# codes below 126 from a module, so there the program ends with an error of the engine instead of
# an exit, and a caller that looks for exits does not see one.
# Seen on 2026-11-28: 255 from Node.js, "invalid exit status outside of [0..126)" from wasmtime.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.ts <<'TS'
console.log("before");
abort("gone");
TS
cat >run.mjs <<'JS'
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';
const wasi = new WASI({ version: 'preview1', returnOnExit: false });
const module = await WebAssembly.compile(await readFile('main.wasm'));
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
JS
cat >run.py <<'PYTHON'
from wasmtime import Engine, ExitTrap, Linker, Module, Store, WasiConfig, WasmtimeError

engine = Engine()
linker, store = Linker(engine), Store(engine)
linker.define_wasi()
store.set_wasi(WasiConfig())
start = linker.instantiate(store, Module.from_file(engine, "main.wasm")).exports(store)["_start"]
try:
    start(store)
except ExitTrap as exit:
    print("an exit with", exit.code)
except WasmtimeError as error:
    print("an error:", str(error).strip().splitlines()[-1].strip())
PYTHON
npm install --silent --no-audit --no-fund --prefix . assemblyscript@0.28.20 @assemblyscript/wasi-shim@0.1.0
npx asc main.ts --config node_modules/@assemblyscript/wasi-shim/asconfig.json -o main.wasm
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check wasmtime==50.0.1
code=0
node --no-warnings run.mjs || code=$?
echo "Node.js: $code"
((code == 255)) || { echo "CHANGED: another code in Node.js"; exit 1; }
env/bin/python run.py | tee out
grep -q "an error: exit with invalid exit status" out || { echo "CHANGED: wasmtime takes the code"; exit 1; }
echo "as noted: abort() exits with 255, which wasmtime does not take"
