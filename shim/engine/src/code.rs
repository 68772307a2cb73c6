//! Trust expressed as types: untrusted bytes, and code that our own engine wrote.

use std::fs::File;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::Tier;

/// A component or core module as it came in an artifact. It is not trusted; it can only be
/// compiled.
#[derive(Debug, Clone)]
pub struct Portable {
    bytes: Vec<u8>,
    digest: String,
}

/// Bytes that cannot be a component.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotPortable {
    /// ELF, the container of wasmtime's precompiled code.
    #[error("it holds precompiled code, which is never trusted; ship the component itself")]
    Precompiled,
    /// Not WebAssembly at all.
    #[error("it is not WebAssembly (it starts with {start:02x?})")]
    NotWasm {
        /// The first bytes, at most eight.
        start: Vec<u8>,
    },
}

impl Portable {
    /// Takes a component's bytes. `digest` is their cache key: the SHA-256 over them, as 64
    /// hexadecimal digits.
    ///
    /// # Errors
    /// [`NotPortable`] if the bytes are not a wasm binary.
    pub fn new(bytes: Vec<u8>) -> Result<Self, NotPortable> {
        if bytes.starts_with(b"\x7fELF") {
            return Err(NotPortable::Precompiled);
        }
        if !bytes.starts_with(b"\0asm") {
            let start = bytes.iter().copied().take(8).collect();
            return Err(NotPortable::NotWasm { start });
        }
        let digest = hex::encode(Sha256::digest(&bytes));
        Ok(Portable { bytes, digest })
    }

    /// The component's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes, 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// The name of compiled code in the cache: content digest, tier, engine configuration,
/// wasmtime's version and the processor's features.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodeKey(String);

impl CodeKey {
    pub(crate) fn new(digest: &str, tier: Tier, configuration: u64) -> Self {
        CodeKey(format!("{digest}-{}-{configuration:016x}", tier.name()))
    }

    /// The key as a file name, without an extension.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for CodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one instance of a component takes from the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Linear memories.
    pub memories: u32,
    /// Tables.
    pub tables: u32,
    /// Initial elements of the largest table.
    pub table_elements: u64,
}

/// Code that our compiler made with our configuration, in a file that only its owner (root,
/// or the user this process runs as) can write.
///
/// Only [`Cache`](crate::Cache) creates it, after checking owner, mode and seal.
#[derive(Debug)]
pub struct Native {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) key: CodeKey,
    pub(crate) resources: Resources,
}

impl Native {
    /// What an instance needs.
    pub fn resources(&self) -> Resources {
        self.resources
    }

    /// Bytes of code and data, all of them mapped.
    pub fn size(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// The key it is cached under.
    pub fn key(&self) -> &CodeKey {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precompiled_bytes_are_refused_before_anything_looks_inside() {
        assert_eq!(
            Portable::new(b"\x7fELF\x02".to_vec()).unwrap_err(),
            NotPortable::Precompiled
        );
    }

    #[test]
    fn text_is_not_portable_and_says_how_it_starts() {
        let error = Portable::new(b"hi".to_vec()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is not WebAssembly (it starts with [68, 69])"
        );
    }
}
