#!/bin/bash
# Tools: componentize-py 0.25.1, its component run by the package wasmtime 50.0.1 of PyPI.
#
# The guess: the whole standard library is in the component (or a module that is missing is reported
# by the build), so an import inside of a function works as it does anywhere.
# What happens: only what was imported while the build ran the top of the module is there. The build
# says nothing, and the first call of the function finds no module, though another module of the
# library that was imported at the top works in the same component.
# Seen on 2026-11-28: "ModuleNotFoundError: No module named 'uuid'".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >world.wit <<'WIT'
package findings:late;

world late {
  export early: func() -> string;
  export late: func() -> string;
}
WIT
cat >app.py <<'PYTHON'
import json
import wit_world


class WitWorld(wit_world.WitWorld):
    def early(self) -> str:
        return json.dumps("json is there")

    def late(self) -> str:
        try:
            import uuid
        except ImportError as error:
            return f"{type(error).__name__}: {error}"
        return str(uuid.UUID(int=1))
PYTHON
cat >run.py <<'PYTHON'
from wasmtime import Engine, Store, WasiConfig
from wasmtime.component import Component, Linker

engine = Engine()
component = Component.from_file(engine, "app.wasm")
for name in ("early", "late"):
    linker, store = Linker(engine), Store(engine)
    linker.add_wasip2()
    store.set_wasi(WasiConfig())
    print(linker.instantiate(store, component).get_func(store, name)(store))
PYTHON
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check componentize-py==0.25.1 wasmtime==50.0.1
env/bin/componentize-py --quiet -d world.wit -w late componentize app -o app.wasm
env/bin/python run.py | tee out
grep -q "json is there" out || { echo "CHANGED: the early import fails too"; exit 1; }
grep -q "ModuleNotFoundError: No module named 'uuid'" out || { echo "CHANGED: the late import works"; exit 1; }
echo "as noted: a module that is first imported in a call is not there"
