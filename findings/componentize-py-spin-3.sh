#!/bin/bash
# Tools: spin-sdk 3.4.1 (Python) with componentize-py 0.25.1, both from PyPI; the SDK
# names no version of the tool that it needs.
#
# The guess: a newer componentize-py builds the applications of an older SDK, or says that it is
# too new.
# What happens: newer releases generate the bindings under other names, and the application's own
# import fails in the middle of the SDK: "No module named 'spin_sdk.wit.types'". With
# componentize-py 0.17.2, in a folder without its environment, the same application builds.
# Seen on 2026-11-28.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >app.py <<'PYTHON'
from spin_sdk.http import IncomingHandler as Base
from spin_sdk.http import Request, Response


class IncomingHandler(Base):
    def handle_request(self, request: Request) -> Response:
        return Response(200, {}, b"hello")
PYTHON
build() {
  python3 -m venv "env-$1"
  "env-$1/bin/pip" install --quiet --disable-pip-version-check spin-sdk==3.4.1 "componentize-py==$1"
  VIRTUAL_ENV="$folder/env-$1" "env-$1/bin/componentize-py" -w spin-http componentize app -o "$1.wasm" >"$1.log" 2>&1
}
if build 0.25.1; then
  echo "CHANGED: componentize-py 0.25.1 builds for spin-sdk 3.4.1"
  exit 1
fi
grep -m1 "No module named 'spin_sdk.wit.types'" 0.25.1.log || { echo "CHANGED: another error"; head -20 0.25.1.log; exit 1; }
echo "as noted: 0.25.1 does not build for spin-sdk 3.4.1"
