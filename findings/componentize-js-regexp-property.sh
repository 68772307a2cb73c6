#!/bin/bash
# Tools: componentize-js 0.23.0 (its engine is built without the tables of Unicode).
#
# The guess: an engine without Intl lacks Intl and no syntax, and code that is never called can at
# worst fail when it is called.
# What happens: an expression with a property of characters, which belongs to the language and not
# to Intl, is a SyntaxError of the whole file, so one such line in a dependency ends the build.
# Seen on 2026-11-28: "SyntaxError: invalid property name in regular expression"; the same file with
# a range of letters builds.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >world.wit <<'WIT'
package findings:words;

world words {
  export hello: func() -> string;
}
WIT
cat >property.js <<'JS'
export const hello = () => 'hello';
export function notCalled(text) {
  return text.match(/\p{Letter}+/gu);
}
JS
sed 's/\\p{Letter}/[a-z]/' property.js >range.js
node --input-type=module --eval 'await import(process.argv[1])' "$folder/property.js" 2>node.log \
  || { echo "Node.js does not take the file either"; cat node.log; exit 1; }
npm install --silent --no-audit --no-fund --prefix . @bytecodealliance/componentize-js@0.23.0
npx componentize-js range.js --wit world.wit -n words -o range.wasm
if npx componentize-js property.js --wit world.wit -n words -o property.wasm 2>log; then
  echo "CHANGED: it builds"
  exit 1
fi
grep -m1 "SyntaxError: invalid property name" log || { echo "CHANGED: another error"; cat log; exit 1; }
echo "as noted: a property of Unicode in an expression ends the build"
