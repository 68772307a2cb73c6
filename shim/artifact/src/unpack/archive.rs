//! Archives in layers, entry by entry, each checked before it is passed on.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::{UnpackError, Unpacker};
use crate::blobs::Slot;
use crate::compression::Decoder;
use crate::meter::{HeaderGauge, Meter};
use crate::paths::{leads_out, relative, relative_file};
use crate::shown::shown;
use crate::{BlobError, Descriptor, Digest, PathError, Verified};

/// How much is copied at a time.
const COPY_BUFFER: usize = 64 * 1024;

/// The set-user-id and set-group-id bits of a mode.
const SET_ID: u32 = 0o6000;

/// An entry whose name, kind, mode and target are safe.
pub(super) struct Entry {
    /// Relative and without dots; empty for the folder itself.
    pub(super) path: PathBuf,
    pub(super) kind: EntryKind,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    Folder,
    File {
        executable: bool,
    },
    /// The target as written; it does not lead outside.
    Symlink {
        target: PathBuf,
    },
    /// The target relative to the archive, without dots.
    HardLink {
        target: PathBuf,
    },
}

/// Which link targets a layer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    /// In a root file system, absolute links start at its own `/`.
    pub(super) rooted: bool,
}

/// An error while handling an entry, by its origin.
pub(super) enum EntryError {
    /// Reading the archive failed; the underlying reader has the reason.
    Read(io::Error),
    /// Everything else.
    Other(UnpackError),
}

impl<E: Into<UnpackError>> From<E> for EntryError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Unpacker<'_> {
    /// Calls `handle` for every entry of a layer, in order.
    ///
    /// The whole layer is checked against its digest, but only at the end: what `handle`
    /// wrote is valid once this has returned `Ok`.
    pub(super) fn for_each_entry(
        &self,
        layer: &Descriptor,
        format: Format,
        mut handle: impl FnMut(&Entry, &mut dyn Read) -> Result<(), EntryError>,
    ) -> Result<(), UnpackError> {
        let blob = Verified::open(self.blobs, layer)?;
        let fault = blob.fault();
        let decoder = Decoder::new(blob)
            .map_err(|(error, blob)| explain(layer.digest, error, &fault, blob))?;
        if decoder.is_wasm() {
            return Err(UnpackError::WasmAsFiles {
                layer: layer.digest,
                media_type: shown(&layer.media_type),
            });
        }
        let meter = Meter::new(decoder, &self.budget, layer.digest, layer.size);
        let (excess, header) = (meter.excess(), meter.header());
        let mut archive = tar::Archive::new(meter);
        let result = self.entries(&mut archive, (layer.digest, format), &header, &mut handle);
        let mut meter = archive.into_inner();
        // The end of the archive is not the end of the layer.
        let result = result.and_then(|()| {
            let rest = io::copy(&mut meter, &mut io::sink());
            rest.map(drop).map_err(EntryError::Read)
        });
        let blob = meter.into_inner().into_inner();
        match result {
            Ok(()) => Ok(blob.finish()?),
            Err(EntryError::Other(error)) => Err(error),
            Err(EntryError::Read(error)) => {
                if let Some(limit) = excess.take() {
                    return Err(limit.into());
                }
                Err(explain(layer.digest, error, &fault, blob))
            }
        }
    }

    fn entries<R: Read>(
        &self,
        archive: &mut tar::Archive<R>,
        layer: (Digest, Format),
        header: &HeaderGauge,
        handle: &mut impl FnMut(&Entry, &mut dyn Read) -> Result<(), EntryError>,
    ) -> Result<(), EntryError> {
        let (layer, format) = layer;
        let mut entries = archive.entries().map_err(EntryError::Read)?;
        loop {
            header.start();
            let next = entries.next();
            header.stop();
            let Some(entry) = next else {
                return Ok(());
            };
            let mut raw = entry.map_err(EntryError::Read)?;
            self.budget.file()?;
            let checked = check(&raw, layer, format)?;
            let size = raw.size();
            let mut content = Counted {
                inner: &mut raw,
                read: 0,
            };
            if let Some(entry) = checked {
                handle(&entry, &mut content)?;
            }
            // The rest is read here, where it does not count as a header, and where a
            // premature end is noticed.
            io::copy(&mut content, &mut io::sink()).map_err(EntryError::Read)?;
            if content.read < size {
                return Err(UnpackError::Truncated { layer }.into());
            }
        }
    }
}

/// Why a layer could not be read: a damaged blob causes other errors as well.
fn explain<R: Read>(
    layer: Digest,
    error: io::Error,
    fault: &Slot<BlobError>,
    blob: Verified<R>,
) -> UnpackError {
    if let Some(fault) = fault.take() {
        return fault.into();
    }
    if let Err(fault) = blob.finish() {
        return fault.into();
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => UnpackError::Truncated { layer },
        _ => UnpackError::Archive {
            layer,
            source: error,
        },
    }
}

/// Checks an entry by its header. `None` for entries that only describe the archive.
fn check<R: Read>(
    raw: &tar::Entry<'_, R>,
    layer: Digest,
    format: Format,
) -> Result<Option<Entry>, UnpackError> {
    let header = raw.header();
    let name = PathBuf::from(OsStr::from_bytes(&raw.path_bytes()).to_owned());
    let refuse = |kind| UnpackError::EntryKind {
        layer,
        path: name.clone(),
        kind,
    };
    let entry_type = header.entry_type();
    match entry_type {
        EntryType::XGlobalHeader => return Ok(None),
        EntryType::Char => return Err(refuse("character device")),
        EntryType::Block => return Err(refuse("block device")),
        EntryType::Fifo => return Err(refuse("named pipe")),
        EntryType::Regular
        | EntryType::Continuous
        | EntryType::Directory
        | EntryType::Symlink
        | EntryType::Link => {}
        _ => return Err(refuse("special file")),
    }
    let path = relative(&name).map_err(|source| UnpackError::EntryPath {
        layer,
        path: name.clone(),
        source,
    })?;
    let mode = header.mode().unwrap_or(0);
    if mode & SET_ID != 0 {
        return Err(UnpackError::SetId { layer, path });
    }
    let kind = match entry_type {
        EntryType::Directory => EntryKind::Folder,
        EntryType::Symlink | EntryType::Link => {
            let target = raw.link_name_bytes().unwrap_or_default();
            let target = PathBuf::from(OsStr::from_bytes(&target).to_owned());
            link(entry_type, &path, target, format).map_err(|target| UnpackError::LinkOut {
                layer,
                path: path.clone(),
                target,
            })?
        }
        _ => EntryKind::File {
            executable: mode & 0o111 != 0,
        },
    };
    if path.as_os_str().is_empty() && kind != EntryKind::Folder {
        return Err(UnpackError::EntryPath {
            layer,
            path: name,
            source: PathError::Empty,
        });
    }
    Ok(Some(Entry { path, kind }))
}

/// A link that stays inside, or its target.
fn link(
    entry_type: EntryType,
    path: &Path,
    target: PathBuf,
    format: Format,
) -> Result<EntryKind, PathBuf> {
    if entry_type == EntryType::Link {
        return match relative_file(&target) {
            Ok(target) => Ok(EntryKind::HardLink { target }),
            Err(_) => Err(target),
        };
    }
    let absolute = target.is_absolute() && !format.rooted;
    if absolute || target.as_os_str().is_empty() || leads_out(path, &target) {
        return Err(target);
    }
    Ok(EntryKind::Symlink { target })
}

/// Copies the content of an entry into a file.
pub(super) fn copy(
    content: &mut dyn Read,
    path: &Path,
    file: &mut impl Write,
) -> Result<(), EntryError> {
    copy_with(content, path, file, |_| {})
}

/// The same, and passes every piece to `see`.
pub(super) fn copy_with(
    content: &mut dyn Read,
    path: &Path,
    file: &mut impl Write,
    mut see: impl FnMut(&[u8]),
) -> Result<(), EntryError> {
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        let read = match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(EntryError::Read(error)),
        };
        see(&buffer[..read]);
        file.write_all(&buffer[..read])
            .map_err(|source| UnpackError::Write {
                path: path.to_owned(),
                source,
            })?;
    }
}

/// A reader that counts the bytes it returned.
struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}
