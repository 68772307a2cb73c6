//! How much an artifact may hold.

/// The bounds of [`unpack`](crate::unpack()) and of reading images.
///
/// The defaults are meant never to be met by an application that works, and to be met
/// by a bomb before a node notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, folders and links of one artifact together.
    pub files: u64,
    /// Bytes of one artifact once unpacked.
    pub bytes: u64,
    /// How many times its compressed size an archive may unpack to.
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

    /// The ratio is not looked at before an archive has given this much: a folder with a
    /// large empty file is no danger, and small archives have no meaningful ratio.
    pub(crate) const RATIO_FROM: u64 = 16 << 20;

    /// The largest components there are, language runtimes with their libraries, have
    /// some 50 MB. Compiling takes ten times a component's size in memory.
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
