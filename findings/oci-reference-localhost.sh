#!/bin/bash
# Tools: the Go modules distribution/reference 0.6.0 and go-containerregistry 0.20.6 (the library of
# crane).
#
# The guess: both read one grammar, so that a name of an image means one registry.
# What happens: for localhost without a port they differ. distribution/reference takes localhost for
# the registry; go-containerregistry takes it for a folder of the registry that is meant when none
# is named: the same name is an image on this machine with one and an image elsewhere with the other.
# A port, or an address instead of the name, makes them agree.
# Seen on 2026-11-28: as printed below, DEFAULT for the registry of names without one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.go <<'GO'
package main

import (
	"fmt"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
)

func main() {
	for _, image := range []string{"localhost/app:1", "localhost:5000/app:1", "127.0.0.1/app:1"} {
		named, err := reference.ParseNormalizedNamed(image)
		if err != nil {
			panic(err)
		}
		parsed, err := name.ParseReference(image)
		if err != nil {
			panic(err)
		}
		registry := parsed.Context().RegistryStr()
		if registry == name.DefaultRegistry {
			registry = "DEFAULT"
		}
		fmt.Println(image, reference.Domain(named), registry)
	}
}
GO
go mod init findings.example/reference 2>/dev/null
go get github.com/distribution/reference@v0.6.0 github.com/google/go-containerregistry@v0.20.6 2>/dev/null
go run . | tee out
cat >expected <<'TEXT'
localhost/app:1 localhost DEFAULT
localhost:5000/app:1 localhost:5000 localhost:5000
127.0.0.1/app:1 127.0.0.1 127.0.0.1
TEXT
cmp --silent out expected || { echo "CHANGED: other registries"; exit 1; }
echo "as noted: localhost without a port is two registries"
