#!/bin/bash
# Tools: jco 1.34.0 (with componentize-js 0.22), which brings the interfaces of WASI 0.2.12.
#
# The guess: a listener for the event fetch is built with the interfaces that the tool itself brings;
# and if it did not know a version, the error would name the version.
# What happens: what stands behind that event fits wasi:http 0.2.10 and not 0.2.12. With 0.2.12 in
# the world the build finds no function. With that one number changed, all else at 0.2.12, the
# same source builds, and so does a source that exports a handler of its own for 0.2.12.
# Seen on 2026-11-28: "failed to find export of interface `wasi:http/incoming-handler@0.2.12` function
# `handle`"; components in the two other cases.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

echo "addEventListener('fetch', (event) => event.respondWith(new Response('hello')));" >event.js
echo "export const incomingHandler = { handle(request, response) {} };" >export.js
npm install --silent --no-audit --no-fund --prefix . @bytecodealliance/jco@1.34.0
for version in 0.2.10 0.2.12; do
  mkdir "$version"
  cp -r node_modules/@bytecodealliance/jco/lib/wit/builtin/0.2.12 "$version/deps"
  sed -i "s/wasi:http@0.2.12/wasi:http@$version/" "$version/deps/wasi-http/package.wit"
  cat >"$version/world.wit" <<WIT
package findings:handler;

world handler {
  export wasi:http/incoming-handler@$version;
}
WIT
done
build() {
  npx jco componentize "$1.js" --wit "$2" --world-name handler --out app.wasm >"$1-$2.log" 2>&1
}
build event 0.2.10 || { echo "CHANGED: the event does not build with 0.2.10"; cat event-0.2.10.log; exit 1; }
build export 0.2.12 || { echo "CHANGED: an export does not build with 0.2.12"; cat export-0.2.12.log; exit 1; }
if build event 0.2.12; then
  echo "CHANGED: the event builds with 0.2.12"
  exit 1
fi
grep -m1 "failed to find export of interface .* function .handle" event-0.2.12.log \
  || { echo "CHANGED: another error"; cat event-0.2.12.log; exit 1; }
echo "as noted: the event fetch builds with wasi:http 0.2.10 and not with 0.2.12"
