#!/bin/bash
# Tools: containerd's Go module platforms 1.0.0-rc.1, for what stands behind a flag --platform.
#
# The guess: "wasi" is a known system and "wasm" alone means WASI, or is refused since a module runs on
# any system; and wasip1/wasm finds an image for wasi/wasm.
# What happens: "wasi" alone is an unknown system or architecture, "wasm" alone is taken for the
# system that asks, so linux/wasm, which finds no image for wasi/wasm. The name wasip1, which Go uses,
# is a system of its own as well.
# Seen on 2026-11-28: an error for wasi, linux/wasm for wasm, no match in both cases.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.go <<'GO'
package main

import (
	"fmt"
	"runtime"

	"github.com/containerd/platforms"
)

func main() {
	image := platforms.MustParse("wasi/wasm")
	for _, asked := range []string{"wasi", "wasm", "wasip1/wasm", "wasi/wasm"} {
		platform, err := platforms.Parse(asked)
		if err != nil {
			fmt.Println(asked, "is refused")
			continue
		}
		system := platform.OS
		if system == runtime.GOOS {
			system = "HOST"
		}
		match := platforms.NewMatcher(platform).Match(image)
		fmt.Printf("%s is %s/%s, finds wasi/wasm: %t\n", asked, system, platform.Architecture, match)
	}
}
GO
go mod init findings.example/platforms 2>/dev/null
go get github.com/containerd/platforms@v1.0.0-rc.1 2>/dev/null
go run . | tee out
cat >expected <<'TEXT'
wasi is refused
wasm is HOST/wasm, finds wasi/wasm: false
wasip1/wasm is wasip1/wasm, finds wasi/wasm: false
wasi/wasm is wasi/wasm, finds wasi/wasm: true
TEXT
cmp --silent out expected || { echo "CHANGED: other platforms"; exit 1; }
echo "as noted: neither wasi nor wasm finds an image for wasi/wasm"
