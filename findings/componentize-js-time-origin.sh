#!/bin/bash
# Tools: componentize-js 0.23.0, its component run by jco 1.34.0 (transpile) in Node.js 20.20.
#
# The guess: performance.timeOrigin counts from 1970, as the standard has it, so timeOrigin plus
# performance.now() is about Date.now().
# What happens: it is a reading of WASI's monotonic clock, which starts where it likes. Durations
# between two calls of now() are right; a time made of the sum is a day in January of 1970.
# Seen on 2026-11-28: a sum of about 14,660,000 ms on a machine that had been up for four hours.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >world.wit <<'WIT'
package findings:origin;

world origin {
  export sum: func() -> f64;
  export date: func() -> f64;
}
WIT
cat >app.js <<'JS'
export const sum = () => performance.timeOrigin + performance.now();
export const date = () => Date.now();
JS
cat >run.mjs <<'JS'
import { sum, date } from './out/app.js';
const day = 24 * 3600 * 1000;
console.log(`timeOrigin + now(): ${Math.round(sum())}, Date.now(): ${date()}`);
const right = Math.abs(date() - Date.now()) < day;
process.exit(right && Math.abs(sum() - date()) > 365 * day ? 0 : 1);
JS
echo '{ "type": "module" }' >package.json
npm install --silent --no-audit --no-fund @bytecodealliance/jco@1.34.0 @bytecodealliance/componentize-js@0.23.0
npx componentize-js app.js --wit world.wit -n origin -o app.wasm
npx jco transpile --quiet app.wasm -o out
node run.mjs || { echo "CHANGED: performance.timeOrigin counts from 1970"; exit 1; }
echo "as noted: performance.timeOrigin does not count from 1970"
