//! How large an artifact may be.

/// The bounds of [`unpack`](crate::unpack()) and of reading images.
///
/// The defaults are meant to be above what any working application needs, and to stop a
/// decompression bomb before it affects a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, folders and links of one artifact together.
    pub files: u64,
    /// Bytes of one artifact after unpacking.
    pub bytes: u64,
    /// By what factor an archive may expand when it is decompressed.
    pub ratio: u64,
    /// Bytes of one WebAssembly binary.
    pub wasm: u64,
}

impl Limits {
    /// Documentation sites, the largest users of files, have some ten thousand pages
    /// with their pictures; a node's file system has millions of inodes.
    pub const FILES: u64 = 100_000;

    /// What a node sets aside for the writable layer of one small pod
    /// (`ephemeral-storage`); the largest sites and models in artifacts stay below.
    pub const BYTES: u64 = 4 << 30;

    /// Source text compresses 5 to 10 times, generated JSON 30 and rarely more;
    /// deflate itself ends at 1032, which only repetition reaches.
    pub const RATIO: u64 = 200;

    /// The ratio is not checked before an archive has produced this much: a folder with a
    /// large empty file is harmless, and small archives have no meaningful ratio.
    pub(crate) const RATIO_FROM: u64 = 16 << 20;

    /// The largest components, language runtimes with their libraries, have some 50 MB.
    /// Compiling takes ten times a component's size in memory.
    pub const WASM: u64 = 512 << 20;

    /// Manifests, indexes and image configurations: registries refuse more than 4 MiB.
    pub(crate) const JSON: u64 = 4 << 20;

    /// A locked application lists every file: about 150 bytes for each of
    /// [`Limits::FILES`], and room for inline content.
    pub(crate) const LOCKED: u64 = 64 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files: Self::FILES,
            bytes: Self::BYTES,
            ratio: Self::RATIO,
            wasm: Self::WASM,
        }
    }
}
