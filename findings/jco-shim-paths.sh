#!/bin/bash
# Tools: jco 1.35.0 with preview2-shim 0.26.1 and 0.26.0, in Node.js 20.20 on Linux.
#
# The guess: "No such file or directory (os error 44)" tells of a wrong path, or of a jco that
# cannot read WIT; and a patch release of the package below it changes neither.
# What happens: jco's own tools are a component that sees files through preview2-shim, and its
# release 0.26.1 finds no file of the host, so that no WIT can be read whatever the path. jco 1.35.0
# asks for ^0.26.0 and gets it. With 0.26.0 the same jco reads the same file. (44 is what WASI
# numbers ENOENT, so it points into the component and not at the host.)
# Seen on 2026-11-28: os error 44 with 0.26.1, with 0.26.0 the types are written.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >world.wit <<'WIT'
package findings:paths;

world paths {
  export hello: func() -> string;
}
WIT
types() {
  mkdir "shim-$1"
  echo '{ "overrides": { "@bytecodealliance/preview2-shim": "'"$1"'" } }' >"shim-$1/package.json"
  npm install --silent --no-audit --no-fund --prefix "shim-$1" @bytecodealliance/jco@1.35.0
  "shim-$1/node_modules/.bin/jco" types "$folder/world.wit" -n paths -o "types-$1" >"$1.log" 2>&1
}
types 0.26.0 || { echo "CHANGED: it fails with 0.26.0 too"; cat 0.26.0.log; exit 1; }
[[ -s types-0.26.0/paths.d.ts ]] || { echo "CHANGED: no types with 0.26.0"; exit 1; }
if types 0.26.1; then
  echo "CHANGED: jco 1.35.0 reads WIT with 0.26.1"
  exit 1
fi
grep -m1 "os error 44" 0.26.1.log || { echo "CHANGED: another error"; cat 0.26.1.log; exit 1; }
echo "as noted: jco 1.35.0 reads WIT with preview2-shim 0.26.0 and not with 0.26.1"
