#!/bin/bash
# Tools: jco 1.34.0 with preview2-shim 0.25.0 in Node.js 20.20, and a component of Rust's
# wasm32-wasip2 (seen with rustc 1.95.0).
#
# The guess: a component sees no file unless the command says so, as with other hosts; and where it
# may make a folder it may make a file.
# What happens: with no option jco run gives the whole file system and the whole environment, and
# the component reads what the user can read. It makes a folder too. But each open for writing is
# refused with "Not supported", so programs that write a file fail in the middle.
# Seen on 2026-11-28: the file and the variable are read, the folder is made, writing is Unsupported.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.rs <<'RUST'
use std::{env, fs};

fn main() {
    let folder = env::args().nth(1).unwrap();
    println!("variable {:?}", env::var("FINDING"));
    println!("read {:?}", fs::read_to_string(format!("{folder}/note")).map_err(|e| e.kind()));
    println!("folder {:?}", fs::create_dir(format!("{folder}/made")).map_err(|e| e.kind()));
    println!("write {:?}", fs::write(format!("{folder}/new"), "x").map_err(|e| e.kind()));
}
RUST
printf hello >note
rustc --edition 2021 --target wasm32-wasip2 -o main.wasm main.rs
echo '{ "overrides": { "@bytecodealliance/preview2-shim": "0.25.0" } }' >package.json
npm install --silent --no-audit --no-fund --prefix . @bytecodealliance/jco@1.34.0
FINDING=here npx jco run main.wasm "$folder" | tee out
cat >expected <<'TEXT'
variable Ok("here")
read Ok("hello")
folder Ok(())
write Err(Unsupported)
TEXT
cmp --silent out expected || { echo "CHANGED: other answers"; exit 1; }
[[ -d made ]] || { echo "CHANGED: no folder was made"; exit 1; }
echo "as noted: jco run gives everything to read and no file to write"
