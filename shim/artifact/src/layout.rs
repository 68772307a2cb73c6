//! OCI layouts: an image store as a folder, or such a folder as a tar file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::blobs::open_regular;
use crate::compression::Compression;
use crate::paths::relative_file;
use crate::shown::{listed, shown};
use crate::{BlobError, Blobs, Choice, ChoiceError, Descriptor, Digest, Index, Limits, Wanted};

/// The annotation that names an image in a layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation by which containerd names images that it imports.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

pub(crate) const INDEX_FILE: &str = "index.json";
pub(crate) const LAYOUT_FILE: &str = "oci-layout";
pub(crate) const BLOBS_FOLDER: &str = "blobs/sha256";

/// An open OCI layout.
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

/// The position of an entry's content in a tar file.
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
        /// The affected file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is not a layout.
    #[error("`{}` is not an OCI layout: it has no `{INDEX_FILE}`", path.display())]
    NotALayout {
        /// The file or folder.
        path: PathBuf,
    },
    /// A tar file that is compressed as a whole.
    #[error("`{}` is compressed: unpack it with {tool} first", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// The tool that decompresses it.
        tool: &'static str,
    },
    /// A tar file with more entries than an image can have.
    #[error("`{}` holds more than {limit} entries", path.display())]
    Entries {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// An index that is too large to read.
    #[error("the index of `{}` has more than {limit} bytes", path.display())]
    IndexSize {
        /// The layout.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// An index does not parse.
    #[error("index of `{}` cannot be understood", path.display())]
    Json {
        /// The layout.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// Indexes are damaged, or no manifest can be chosen.
    #[error("cannot tell which image of `{}` is meant", path.display())]
    Choice {
        /// The layout.
        path: PathBuf,
        /// The cause.
        source: ChoiceError,
    },
    /// No image of that name, or no image at all.
    #[error("`{}` holds no image{wanted}; it has {found}", path.display())]
    NoImage {
        /// The layout.
        path: PathBuf,
        /// ` named …`, or nothing.
        wanted: String,
        /// The names that exist.
        found: String,
    },
    /// Several images, and no way to choose one.
    #[error(
        "`{}` holds several images: {found}; choose one by name or digest with `--image`",
        path.display()
    )]
    Ambiguous {
        /// The layout.
        path: PathBuf,
        /// The names that exist.
        found: String,
    },
}

impl Layout {
    /// Opens a layout folder, or a tar file of one.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] where the path is neither of them.
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
            .and_then(|file| file.take(Limits::JSON + 1).read_to_end(&mut bytes))
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => LayoutError::NotALayout {
                    path: path.to_owned(),
                },
                _ => read(error),
            })?;
        if bytes.len() as u64 > Limits::JSON {
            return Err(LayoutError::IndexSize {
                path: path.to_owned(),
                limit: Limits::JSON,
            });
        }
        layout.index = layout.parse(&bytes)?;
        Ok(layout)
    }

    /// Whether `path` looks like a layout; a quick check.
    pub fn is_layout(path: &Path) -> bool {
        path.join(INDEX_FILE).is_file() && path.join(LAYOUT_FILE).is_file()
    }

    /// The manifest of the image called `name` (or with that digest), or of the only image.
    ///
    /// For images with several platforms, [`Choice`] decides.
    ///
    /// # Errors
    ///
    /// [`LayoutError::NoImage`] and [`LayoutError::Ambiguous`] list the images that exist.
    pub fn manifest(&self, name: Option<&str>) -> Result<Descriptor, LayoutError> {
        self.manifest_for(name, None)
    }

    /// Like [`Layout::manifest`], for a requested platform.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn manifest_for(
        &self,
        name: Option<&str>,
        wanted: Option<&Wanted>,
    ) -> Result<Descriptor, LayoutError> {
        let path = || self.path.clone();
        let fit = |descriptor: &&Descriptor| name.is_none_or(|name| is_named(descriptor, name));
        let images: Vec<_> = self.index.manifests.iter().filter(fit).cloned().collect();
        let found = || listed(self.index.manifests.iter().map(described));
        let choice = Choice {
            blobs: self,
            has: &|descriptor| self.has(descriptor),
            wanted,
        };
        choice.manifest(&images).map_err(|source| match source {
            ChoiceError::Nothing => LayoutError::NoImage {
                path: path(),
                wanted: name
                    .map(|name| format!(" named `{}`", shown(name)))
                    .unwrap_or_default(),
                found: found(),
            },
            ChoiceError::Several { .. } if images.len() > 1 => LayoutError::Ambiguous {
                path: path(),
                found: found(),
            },
            source => LayoutError::Choice {
                path: path(),
                source,
            },
        })
    }

    /// Whether the blob of a descriptor is present, damaged or not.
    fn has(&self, descriptor: &Descriptor) -> bool {
        let name = Path::new(BLOBS_FOLDER).join(descriptor.digest.hex());
        match &self.store {
            Store::Folder => self.path.join(name).symlink_metadata().is_ok(),
            Store::Tar { entries, .. } => entries.contains_key(&name),
        }
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
        let file = open_regular(path).map_err(read)?;
        let mut start = [0; Compression::MAGIC];
        let length = file.read_at(&mut start, 0).map_err(read)?;
        let tool = match Compression::of(&start[..length]) {
            Compression::None => None,
            Compression::Gzip => Some("gunzip"),
            Compression::Zstd => Some("unzstd"),
        };
        if let Some(tool) = tool {
            return Err(LayoutError::Compressed {
                path: path.to_owned(),
                tool,
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
            // Only plain files with plain names belong to a layout.
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
            Self::Folder => Ok(Box::new(open_regular(&base.join(name))?)),
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
    let annotations = &descriptor.annotations;
    let named = |key: &str| annotations.get(key).is_some_and(|value| value == name);
    [REF_NAME, IMAGE_NAME].into_iter().any(named) || descriptor.digest.to_string() == name
}

fn described(descriptor: &Descriptor) -> String {
    match descriptor.image_name() {
        Some(name) => format!("`{}`", shown(name)),
        None => descriptor.digest.to_string(),
    }
}

/// The file name of a digest in a layout's blob folder, for code that writes one.
pub(crate) fn blob_path(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join(BLOBS_FOLDER).join(digest.hex())
}
