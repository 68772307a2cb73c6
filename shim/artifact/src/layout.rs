//! OCI layouts: an image store as a folder, or that folder as a tar file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::blobs::read_whole;
use crate::oci::media;
use crate::paths::relative_file;
use crate::{BlobError, Blobs, Descriptor, Digest, Index, Limits};

/// The annotation that names an image in a layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation by which containerd names what it imports.
pub const IMAGE_NAME: &str = "io.containerd.image.name";
/// What build tools put beside images: signatures and provenance, not to be run.
const ATTESTATION: &str = "vnd.docker.reference.type";

pub(crate) const INDEX_FILE: &str = "index.json";
pub(crate) const LAYOUT_FILE: &str = "oci-layout";
pub(crate) const BLOBS_FOLDER: &str = "blobs/sha256";

/// An index of indexes of indexes has no use.
const MAX_DEPTH: usize = 3;

/// How every gzip file starts.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An OCI layout, opened.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    store: Store,
    index: Index,
}

#[derive(Debug)]
enum Store {
    Folder,
    Tar {
        file: File,
        entries: HashMap<PathBuf, Extent>,
    },
}

/// Where in a tar file the content of an entry is.
#[derive(Debug, Clone, Copy)]
struct Extent {
    start: u64,
    size: u64,
}

/// Why a layout cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file or folder cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file at fault.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is something else.
    #[error("`{}` is not an OCI layout: it has no `{INDEX_FILE}`", path.display())]
    NotALayout {
        /// The file or folder.
        path: PathBuf,
    },
    /// A tar file that is compressed as a whole.
    #[error("`{}` is compressed: unpack it with gunzip first", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
    },
    /// A tar file with more entries than an image can have.
    #[error("`{}` holds more than {limit} entries", path.display())]
    Entries {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// An index is not written as one.
    #[error("index of `{}` cannot be understood", path.display())]
    Json {
        /// The layout.
        path: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
    /// An index inside of the index is damaged.
    #[error("cannot read an index of `{}`", path.display())]
    Blob {
        /// The layout.
        path: PathBuf,
        /// What is wrong with it.
        source: BlobError,
    },
    /// No image of that name, or none at all.
    #[error("`{}` holds no image{wanted}; it has {found}", path.display())]
    NoImage {
        /// The layout.
        path: PathBuf,
        /// ` named …`, or nothing.
        wanted: String,
        /// The names there are.
        found: String,
    },
    /// Several images and nothing to choose by.
    #[error("`{}` holds several images, name one of them: {found}", path.display())]
    Ambiguous {
        /// The layout.
        path: PathBuf,
        /// The names there are.
        found: String,
    },
}

impl Layout {
    /// Opens a layout folder or a tar file of one.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] where the path is neither.
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let read = |source| LayoutError::Read {
            path: path.to_owned(),
            source,
        };
        let store = if path.metadata().map_err(read)?.is_dir() {
            Store::Folder
        } else {
            Store::open_tar(path)?
        };
        let mut layout = Self {
            path: path.to_owned(),
            store,
            index: Index {
                schema_version: crate::oci::SCHEMA_VERSION,
                media_type: None,
                manifests: Vec::new(),
            },
        };
        let mut bytes = Vec::new();
        layout
            .store
            .open_file(path, Path::new(INDEX_FILE))
            .and_then(|file| file.take(Limits::JSON).read_to_end(&mut bytes))
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => LayoutError::NotALayout {
                    path: path.to_owned(),
                },
                _ => read(error),
            })?;
        layout.index = layout.parse(&bytes)?;
        Ok(layout)
    }

    /// Whether `path` looks like a layout, as far as telling it from other things goes.
    pub fn is_layout(path: &Path) -> bool {
        path.join(INDEX_FILE).is_file() && path.join(LAYOUT_FILE).is_file()
    }

    /// The manifest of the image called `name`, or of the only image.
    ///
    /// Images for several platforms give the one for WebAssembly, else the one for Linux
    /// on this machine's processor.
    ///
    /// # Errors
    ///
    /// [`LayoutError::NoImage`] and [`LayoutError::Ambiguous`] list what there is.
    pub fn manifest(&self, name: Option<&str>) -> Result<Descriptor, LayoutError> {
        let mut found = Vec::new();
        let named = self
            .index
            .manifests
            .iter()
            .filter(|descriptor| name.is_none_or(|name| is_named(descriptor, name)));
        for descriptor in named {
            self.collect(descriptor, MAX_DEPTH, &mut found)?;
        }
        let names = || names(&self.index.manifests);
        match choose(&found) {
            [] => Err(LayoutError::NoImage {
                path: self.path.clone(),
                wanted: name
                    .map(|name| format!(" named `{name}`"))
                    .unwrap_or_default(),
                found: names(),
            }),
            [one] => Ok((*one).clone()),
            _ => Err(LayoutError::Ambiguous {
                path: self.path.clone(),
                found: names(),
            }),
        }
    }

    /// Puts the manifests behind `descriptor`, which may be an index, into `found`.
    fn collect(
        &self,
        descriptor: &Descriptor,
        depth: usize,
        found: &mut Vec<Descriptor>,
    ) -> Result<(), LayoutError> {
        if descriptor.annotations.contains_key(ATTESTATION) {
            return Ok(());
        }
        let is_index =
            [media::INDEX, media::DOCKER_INDEX].contains(&descriptor.media_type.as_str());
        if !is_index {
            found.push(descriptor.clone());
            return Ok(());
        }
        if depth == 0 {
            return Ok(());
        }
        let bytes = read_whole(self, descriptor, Limits::JSON, "an index").map_err(|source| {
            LayoutError::Blob {
                path: self.path.clone(),
                source,
            }
        })?;
        for inner in self.parse(&bytes)?.manifests {
            self.collect(&inner, depth - 1, found)?;
        }
        Ok(())
    }

    fn parse(&self, bytes: &[u8]) -> Result<Index, LayoutError> {
        serde_json::from_slice(bytes).map_err(|source| LayoutError::Json {
            path: self.path.clone(),
            source,
        })
    }
}

impl Blobs for Layout {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, BlobError> {
        let digest = descriptor.digest;
        let name = Path::new(BLOBS_FOLDER).join(digest.hex());
        self.store
            .open_file(&self.path, &name)
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => BlobError::Missing { digest },
                _ => BlobError::Read { digest, source },
            })
    }
}

impl Store {
    fn open_tar(path: &Path) -> Result<Self, LayoutError> {
        let read = |source| LayoutError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let mut magic = [0; 2];
        if file.read_at(&mut magic, 0).map_err(read)? == magic.len() && magic == GZIP_MAGIC {
            return Err(LayoutError::Compressed {
                path: path.to_owned(),
            });
        }
        let mut archive = tar::Archive::new(&file);
        let mut entries = HashMap::new();
        for entry in archive.entries_with_seek().map_err(read)? {
            let entry = entry.map_err(read)?;
            if entries.len() as u64 >= Limits::FILES {
                return Err(LayoutError::Entries {
                    path: path.to_owned(),
                    limit: Limits::FILES,
                });
            }
            // What is no plain file with a plain name is no part of a layout.
            let name = entry.path().ok().and_then(|name| relative_file(&name).ok());
            if let (Some(name), true) = (name, entry.header().entry_type().is_file()) {
                let extent = Extent {
                    start: entry.raw_file_position(),
                    size: entry.size(),
                };
                entries.insert(name, extent);
            }
        }
        Ok(Self::Tar { file, entries })
    }

    fn open_file<'a>(&'a self, base: &Path, name: &Path) -> io::Result<Box<dyn Read + 'a>> {
        match self {
            Self::Folder => Ok(Box::new(File::open(base.join(name))?)),
            Self::Tar { file, entries } => {
                let extent = entries.get(name).ok_or(io::ErrorKind::NotFound)?;
                Ok(Box::new(Slice {
                    file,
                    next: extent.start,
                    end: extent.start.saturating_add(extent.size),
                }))
            }
        }
    }
}

/// A part of a file, read without moving the file's own position.
struct Slice<'a> {
    file: &'a File,
    next: u64,
    end: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        let take = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..take], self.next)?;
        self.next += read as u64;
        Ok(read)
    }
}

fn is_named(descriptor: &Descriptor, name: &str) -> bool {
    [REF_NAME, IMAGE_NAME].iter().any(|key| {
        descriptor
            .annotations
            .get(*key)
            .is_some_and(|value| value == name)
    })
}

/// Of several manifests, those for WebAssembly, else those for this machine, else all.
fn choose(found: &[Descriptor]) -> &[Descriptor] {
    if found.len() < 2 {
        return found;
    }
    let processor = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let position = |wanted: &dyn Fn(&crate::Platform) -> bool| {
        let mut fit = found
            .iter()
            .enumerate()
            .filter(|(_, descriptor)| descriptor.platform.as_ref().is_some_and(wanted));
        match (fit.next(), fit.next()) {
            (Some((position, _)), None) => Some(position),
            _ => None,
        }
    };
    let wasm = position(&|platform| platform.architecture == "wasm");
    let here =
        || position(&|platform| platform.os == "linux" && platform.architecture == processor);
    match wasm.or_else(here) {
        Some(position) => &found[position..=position],
        None => found,
    }
}

fn names(manifests: &[Descriptor]) -> String {
    let names: Vec<String> = manifests
        .iter()
        .map(|descriptor| {
            let name = [IMAGE_NAME, REF_NAME]
                .iter()
                .find_map(|key| descriptor.annotations.get(*key));
            name.map_or_else(|| descriptor.digest.to_string(), |name| format!("`{name}`"))
        })
        .collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

/// The digest that a file of a layout's blob folder is named by, for who writes one.
pub(crate) fn blob_path(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join(BLOBS_FOLDER).join(digest.hex())
}
