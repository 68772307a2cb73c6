#!/bin/bash
# Tools: the Go module go-containerregistry 0.20.6 (the library of crane).
#
# The guess: an image that is made of the library's empty image and a layer of type application/wasm
# is an OCI image, and its configuration says for which system it is.
# What happens: the empty image is of Docker's older format and adding a layer keeps that: a manifest
# of Docker's type, with Docker's type for the configuration, around a layer of another type. The
# architecture and the system are there as empty strings. Both have to be set by hand
# (mutate.MediaType, mutate.ConfigMediaType, mutate.ConfigFile).
# Seen on 2026-11-28: the types below, and "" for both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.go <<'GO'
package main

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
)

func main() {
	layer := static.NewLayer([]byte("\x00asm\x01\x00\x00\x00"), "application/wasm")
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		panic(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		panic(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		panic(err)
	}
	fmt.Println("manifest", manifest.MediaType)
	fmt.Println("config", manifest.Config.MediaType)
	fmt.Println("layer", manifest.Layers[0].MediaType)
	fmt.Printf("system %q, architecture %q\n", config.OS, config.Architecture)
}
GO
go mod init findings.example/image 2>/dev/null
go get github.com/google/go-containerregistry@v0.20.6 2>/dev/null
go mod tidy 2>/dev/null
go run . | tee out
cat >expected <<'TEXT'
manifest application/vnd.docker.distribution.manifest.v2+json
config application/vnd.docker.container.image.v1+json
layer application/wasm
system "", architecture ""
TEXT
cmp --silent out expected || { echo "CHANGED: other types or a system"; exit 1; }
echo "as noted: the image is of Docker's type and for no system"
