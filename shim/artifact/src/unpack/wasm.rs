//! WebAssembly binaries in layers.

use std::io::Write;
use std::path::Path;

use super::archive::{EntryError, copy_with};
use super::{UnpackError, Unpacker, wasm_path};
use crate::blobs::BlobError;
use crate::compression::Compression;
use crate::{Descriptor, Digest, Verified};

/// The first bytes that identify WebAssembly and other formats.
const HEADER: usize = 16;

impl Unpacker<'_> {
    /// Writes one layer to the folder for WebAssembly, and checks that it is WebAssembly.
    pub(super) fn wasm_layer(&self, layer: &Descriptor) -> Result<(), UnpackError> {
        self.budget.wasm(layer.digest, layer.size)?;
        self.budget.bytes(layer.size)?;
        let path = wasm_path(Path::new(""), &layer.digest);
        let mut header = Vec::with_capacity(HEADER);
        self.write_blob(layer, &path, |bytes| {
            let missing = HEADER - header.len();
            header.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        })?;
        check_wasm(&header, layer.digest)
    }

    /// The same for a binary inside the locked application.
    pub(super) fn wasm_inline(&self, bytes: &[u8]) -> Result<Digest, UnpackError> {
        let digest = Digest::of(bytes);
        self.budget.wasm(digest, bytes.len() as u64)?;
        check_wasm(bytes, digest)?;
        if !self.has_wasm(&digest)? {
            self.write(&wasm_path(Path::new(""), &digest), bytes)?;
        }
        Ok(digest)
    }

    /// Whether a binary was written already.
    pub(super) fn has_wasm(&self, digest: &Digest) -> Result<bool, UnpackError> {
        let path = wasm_path(Path::new(""), digest);
        let found = self.folder.kind(&path);
        let found = found.map_err(|source| self.cannot_write(&path, source))?;
        Ok(found.is_some())
    }

    /// Writes a blob unchanged, and passes every piece to `see`.
    pub(super) fn write_blob(
        &self,
        layer: &Descriptor,
        path: &Path,
        see: impl FnMut(&[u8]),
    ) -> Result<(), UnpackError> {
        self.budget.file()?;
        let mut blob = Verified::open(self.blobs, layer)?;
        let write = |source| self.cannot_write(path, source);
        let mut file = self.folder.create_file(path, 0o644).map_err(write)?;
        match copy_with(&mut blob, &self.folder.shown(path), &mut file, see) {
            Ok(()) => file.flush().map_err(write),
            Err(EntryError::Other(error)) => Err(error),
            Err(EntryError::Read(error)) => Err(blob.explain(error).into()),
        }
    }

    pub(super) fn read(
        &self,
        blob: &Descriptor,
        limit: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, BlobError> {
        crate::read_whole(self.blobs, blob, limit, what)
    }
}

fn check_wasm(bytes: &[u8], layer: Digest) -> Result<(), UnpackError> {
    if skiff_compose::kind(bytes).is_some() {
        return Ok(());
    }
    if skiff_compose::is_precompiled(bytes) {
        return Err(UnpackError::Precompiled { layer });
    }
    let text = bytes.trim_ascii_start();
    let hint = if text.starts_with(b"(module") || text.starts_with(b"(component") {
        ", but its text form: push the binary"
    } else {
        match Compression::of(bytes) {
            Compression::Gzip => ", but a gzip file: push the binary as it is",
            Compression::Zstd => ", but a zstd file: push the binary as it is",
            Compression::None => "",
        }
    };
    Err(UnpackError::NotWasm { layer, hint })
}
