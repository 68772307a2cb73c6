#!/bin/bash
# Tools: the Go module oras-go 2.6.0.
#
# The guess: the digest of a manifest comes from its content, so packing the same blob with the same
# options gives the same digest, and a second push of it is no push.
# What happens: oras.PackManifest adds the annotation org.opencontainers.image.created with the
# present second, unless the options bring one: each second has another digest, and caches and
# signatures of the one before do not fit. With a time of one's own the digest stays.
# Seen on 2026-11-28: two digests for one blob, 1.1 seconds apart; one digest with the annotation.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
)

func digest(annotations map[string]string) string {
	ctx, store := context.Background(), memory.New()
	blob, err := oras.PushBytes(ctx, store, "application/wasm", []byte("\x00asm\x01\x00\x00\x00"))
	if err != nil {
		panic(err)
	}
	options := oras.PackManifestOptions{Layers: []v1.Descriptor{blob}, ManifestAnnotations: annotations}
	manifest, err := oras.PackManifest(ctx, store, oras.PackManifestVersion1_1, "application/wasm", options)
	if err != nil {
		panic(err)
	}
	return manifest.Digest.String()
}

func main() {
	fixed := map[string]string{v1.AnnotationCreated: "2026-01-01T00:00:00Z"}
	plain, set := digest(nil), digest(fixed)
	time.Sleep(1100 * time.Millisecond)
	fmt.Println("same digest without a time:", plain == digest(nil))
	fmt.Println("same digest with a time:", set == digest(fixed))
}
GO
go mod init findings.example/pack 2>/dev/null
go get oras.land/oras-go/v2@v2.6.0 2>/dev/null
go mod tidy 2>/dev/null
go run . | tee out
grep -q "without a time: false" out || { echo "CHANGED: the digest stays"; exit 1; }
grep -q "with a time: true" out || { echo "CHANGED: the digest changes in any case"; exit 1; }
echo "as noted: the same content has another digest a second later"
