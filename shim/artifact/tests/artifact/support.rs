//! Hand-made images in memory.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use skiff_artifact::{
    BlobError, Blobs, Descriptor, Digest, Image, ImageError, Limits, Manifest, PrepareError,
    UnpackError, Unpacked, media, unpack,
};
use tempfile::TempDir;

/// The smallest component.
pub(crate) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A component of at least `size` bytes, padded by a custom section.
pub(crate) fn component(size: usize, fill: u8) -> Vec<u8> {
    let mut section = vec![1, b'x'];
    section.resize(size.max(2), fill);
    let mut bytes = COMPONENT.to_vec();
    bytes.push(0);
    let mut length = section.len();
    while length > 0x7f {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(section);
    bytes
}

/// An error as printed at the top level: with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The only mistake in an application's components.
#[track_caller]
pub(crate) fn only(error: PrepareError) -> PrepareError {
    match error {
        PrepareError::Components(mut mistakes) if mistakes.faults.len() == 1 => {
            mistakes.faults.remove(0)
        }
        other => panic!("not one mistake: {other:?}"),
    }
}

/// Blobs by digest. The stored content need not match the digest.
#[derive(Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<Digest, Vec<u8>>);

impl Blobs for Memory {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, BlobError> {
        let digest = descriptor.digest;
        match self.0.get(&digest) {
            Some(bytes) => Ok(Box::new(bytes.as_slice())),
            None => Err(BlobError::Missing { digest }),
        }
    }
}

/// An image under construction.
pub(crate) struct Builder {
    pub(crate) blobs: Memory,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self::with_config(media::CONFIG, br#"{"architecture":"wasm","os":"Wasip1"}"#)
    }

    pub(crate) fn with_config(media_type: &str, config: &[u8]) -> Self {
        let mut blobs = Memory::default();
        let config = put(&mut blobs, media_type, config);
        Self {
            blobs,
            config,
            layers: Vec::new(),
        }
    }

    pub(crate) fn layer(mut self, media_type: &str, bytes: &[u8]) -> Self {
        let layer = put(&mut self.blobs, media_type, bytes);
        self.layers.push(layer);
        self
    }

    /// A layer whose blob is stored under another digest.
    pub(crate) fn forged_layer(mut self, media_type: &str, named: &[u8], stored: &[u8]) -> Self {
        let layer = Descriptor::of(media_type, named);
        self.blobs.0.insert(layer.digest, stored.to_vec());
        self.layers.push(layer);
        self
    }

    /// A layer whose blob does not exist.
    pub(crate) fn lost_layer(mut self, media_type: &str, bytes: &[u8]) -> Self {
        self.layers.push(Descriptor::of(media_type, bytes));
        self
    }

    pub(crate) fn read(mut self) -> (Result<Image, ImageError>, Memory) {
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            config: self.config,
            layers: self.layers,
            annotations: BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let descriptor = put(&mut self.blobs, media::MANIFEST, &bytes);
        (Image::read(&self.blobs, &descriptor), self.blobs)
    }

    /// Unpacks into a new folder.
    pub(crate) fn unpack_with(self, limits: &Limits) -> Result<Target, UnpackError> {
        let (image, blobs) = self.read();
        let target = Target::new();
        let into = target.path();
        match unpack(&image.expect("an image"), &blobs, &into, limits) {
            Ok(Unpacked { directory }) => {
                assert_eq!(directory, into);
                Ok(target)
            }
            Err(error) => {
                assert!(target.is_untouched(), "{error} left something behind");
                Err(error)
            }
        }
    }

    pub(crate) fn unpack(self) -> Result<Target, UnpackError> {
        self.unpack_with(&Limits::default())
    }

    /// Unpacks and returns the error.
    #[track_caller]
    pub(crate) fn refused(self) -> UnpackError {
        match self.unpack() {
            Ok(_) => panic!("the image was unpacked"),
            Err(error) => error,
        }
    }
}

fn put(blobs: &mut Memory, media_type: &str, bytes: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, bytes);
    blobs.0.insert(descriptor.digest, bytes.to_vec());
    descriptor
}

/// A folder to unpack into, which does not exist yet.
pub(crate) struct Target(TempDir);

impl Target {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("image")
    }

    /// Nothing exists: neither the folder nor anything beside it.
    pub(crate) fn is_untouched(&self) -> bool {
        std::fs::read_dir(self.0.path()).unwrap().next().is_none()
    }

    /// The content of a file in the folder.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).unwrap()
    }

    /// All files and links below `folder`, with their content (as text where possible) or
    /// their targets.
    pub(crate) fn tree(&self, folder: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        walk(&self.path().join(folder), Path::new(""), &mut found);
        found
    }
}

fn walk(folder: &Path, below: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), below.join(entry.file_name()));
        let shown = name.display().to_string();
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            let target = path.read_link().unwrap();
            found.insert(shown, format!("-> {}", target.display()));
        } else if kind.is_dir() {
            walk(&path, &name, found);
        } else {
            let content = std::fs::read(&path).unwrap();
            found.insert(shown, String::from_utf8_lossy(&content).into_owned());
        }
    }
}

/// A locked application with one component, `COMPONENT`, and these files.
pub(crate) fn locked(files: &str) -> String {
    locked_with(&Digest::of(COMPONENT).to_string(), files)
}

pub(crate) fn locked_with(source: &str, files: &str) -> String {
    format!(
        r#"{{"spin_lock_version":0,"metadata":{{"name":"shop","trigger":{{"type":"http"}},"triggers":{{}}}},
"triggers":[{{"id":"cart-http-trigger","trigger_type":"http","trigger_config":{{"component":"cart","route":"/..."}}}}],
"components":[{{"id":"cart","source":{{"content_type":"application/wasm","digest":"{source}"}},"files":[{files}]}}]}}"#
    )
}

/// An entry of `files` by digest.
pub(crate) fn file(path: &str, content: &[u8]) -> String {
    format!(r#"{{"digest":"{}","path":"{path}"}}"#, Digest::of(content))
}

/// One entry of an archive, with the given header.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: tar::EntryType,
    pub(crate) target: &'a str,
    pub(crate) mode: u32,
    pub(crate) content: &'a [u8],
}

pub(crate) fn plain<'a>(name: &'a str, content: &'a [u8]) -> Entry<'a> {
    Entry {
        name,
        kind: tar::EntryType::Regular,
        target: "",
        mode: 0o644,
        content,
    }
}

pub(crate) fn folder(name: &str) -> Entry<'_> {
    Entry {
        kind: tar::EntryType::Directory,
        mode: 0o755,
        ..plain(name, b"")
    }
}

pub(crate) fn link<'a>(kind: tar::EntryType, name: &'a str, target: &'a str) -> Entry<'a> {
    Entry {
        kind,
        target,
        ..plain(name, b"")
    }
}

/// An archive of entries whose names are written unchanged.
pub(crate) fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        let fields = header.as_gnu_mut().unwrap();
        fields.name[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        fields.linkname[..entry.target.len()].copy_from_slice(entry.target.as_bytes());
        if entry.kind.is_gnu_sparse() {
            // All of its content is one hole of length zero.
            header.as_gnu_mut().unwrap().realsize = *b"00000000000\0";
        }
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_size(entry.content.len() as u64);
        header.set_cksum();
        archive.append(&header, entry.content).unwrap();
    }
    archive.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn packed(entries: &[Entry<'_>]) -> Vec<u8> {
    gzip(&archive(entries))
}
