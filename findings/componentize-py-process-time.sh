#!/bin/bash
# Tools: componentize-py 0.25.1, its component run by the package wasmtime 50.0.1 of PyPI.
#
# The guess: time.process_time() is the CPU time since the start, so it begins near 0 and is
# never negative, also where WASI has no such clock and something stands in for it.
# What happens: what stands in is the monotonic clock less a reading that the build took and that
# the file keeps. A host whose clock starts anew gives a negative number, by about as many seconds
# as the build took. Differences between two calls are right.
# Seen on 2026-11-28: -20.28 in the first call, while time.monotonic() was 0.02.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >world.wit <<'WIT'
package findings:cpu;

world cpu {
  export process-time: func() -> f64;
  export monotonic: func() -> f64;
}
WIT
cat >app.py <<'PYTHON'
import time
import wit_world


class WitWorld(wit_world.WitWorld):
    def process_time(self) -> float:
        return time.process_time()

    def monotonic(self) -> float:
        return time.monotonic()
PYTHON
cat >run.py <<'PYTHON'
import sys
from wasmtime import Engine, Store, WasiConfig
from wasmtime.component import Component, Linker

engine = Engine()
component = Component.from_file(engine, "app.wasm")
seen = {}
for name in ("process-time", "monotonic"):
    linker, store = Linker(engine), Store(engine)
    linker.add_wasip2()
    store.set_wasi(WasiConfig())
    seen[name] = linker.instantiate(store, component).get_func(store, name)(store)
print(seen)
sys.exit(0 if seen["process-time"] < 0 <= seen["monotonic"] else 1)
PYTHON
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check componentize-py==0.25.1 wasmtime==50.0.1
env/bin/componentize-py --quiet -d world.wit -w cpu componentize app -o app.wasm
env/bin/python run.py || { echo "CHANGED: time.process_time() is not negative"; exit 1; }
echo "as noted: time.process_time() is negative"
