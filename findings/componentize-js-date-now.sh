#!/bin/bash
# Tools: componentize-js 0.23.0, its component run by jco 1.34.0 (transpile) in Node.js 20.20.
#
# The guess: what stands at the top of a module runs when the component starts, as it does in a
# script, so a Date.now() there is the time of the start.
# What happens: it ran once, in the build. Each later start gets that number, and a Date.now()
# inside an exported function is right.
# Seen on 2026-11-28: two starts, and both had a top that lay before the end of the build.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >world.wit <<'WIT'
package findings:clock;

world clock {
  export top: func() -> f64;
  export inside: func() -> f64;
}
WIT
cat >app.js <<'JS'
const atTop = Date.now();
export const top = () => atTop;
export const inside = () => Date.now();
JS
cat >run.mjs <<'JS'
import { top, inside } from './out/app.js';
const [built] = process.argv.slice(2).map(Number);
const sane = inside() >= built;
console.log(`top ${top()} inside ${inside()}`);
process.exit(top() <= built && sane ? 0 : 1);
JS
echo '{ "type": "module" }' >package.json
npm install --silent --no-audit --no-fund @bytecodealliance/jco@1.34.0 @bytecodealliance/componentize-js@0.23.0
npx componentize-js app.js --wit world.wit -n clock -o app.wasm
built=$(date +%s%3N)
npx jco transpile --quiet app.wasm -o out
for start in 1 2; do
  sleep 1
  node run.mjs "$built" || { echo "CHANGED: start $start does not have the time of the build"; exit 1; }
done
echo "as noted: Date.now() at the top is the time of the build"
