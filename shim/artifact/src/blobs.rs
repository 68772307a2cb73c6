//! Blobs, and a reader that verifies them.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use crate::digest::Hasher;
use crate::open::open_file;
use crate::{Descriptor, Digest};

/// Where the blobs of an image are stored.
pub trait Blobs {
    /// Opens the blob of `descriptor.digest` without checking it: [`Verified`] does that.
    ///
    /// # Errors
    ///
    /// [`BlobError::Missing`] where it does not exist, [`BlobError::Read`] otherwise.
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, BlobError>;
}

/// Opens a regular file for reading, and nothing else: a pipe would wait for a writer, and
/// a device might do anything. The check is made on the opened file.
///
/// # Errors
///
/// Those of opening it, and one of kind `InvalidInput` if it is not a regular file.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    open_file(path)?
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// Why a blob cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The blob does not exist.
    #[error("blob {digest} is missing")]
    Missing {
        /// The requested blob.
        digest: Digest,
    },
    /// It cannot be read.
    #[error("cannot read blob {digest}")]
    Read {
        /// The requested blob.
        digest: Digest,
        /// The system's error.
        source: io::Error,
    },
    /// It ends early.
    #[error("blob {digest} is truncated: it ends after {found} bytes of {expected}")]
    Truncated {
        /// The requested blob.
        digest: Digest,
        /// The size in its descriptor.
        expected: u64,
        /// The bytes that were read.
        found: u64,
    },
    /// It is longer than its descriptor says.
    #[error("blob {digest} is longer than the {expected} bytes its descriptor says")]
    Oversized {
        /// The requested blob.
        digest: Digest,
        /// The size in its descriptor.
        expected: u64,
    },
    /// Its content does not match the digest.
    #[error("blob {digest} has other content: its digest is {found}")]
    Mismatch {
        /// The requested blob.
        digest: Digest,
        /// The digest of the actual content.
        found: Digest,
    },
    /// It is larger than the limit for its kind.
    #[error("blob {digest} holds {size} bytes, over the limit of {limit} bytes for {what}")]
    TooLarge {
        /// The requested blob.
        digest: Digest,
        /// The size in its descriptor.
        size: u64,
        /// The limit.
        limit: u64,
        /// The kind of blob, in words.
        what: &'static str,
    },
}

/// The error that occurred inside a reader, kept where the surrounding code finds it.
///
/// Decoders and archive readers wrap the errors of the underlying reader in their own, so
/// the one useful error would be lost in a text.
pub(crate) struct Slot<E>(Rc<RefCell<Option<E>>>);

impl<E> Default for Slot<E> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(None)))
    }
}

impl<E> Clone for Slot<E> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<E> Slot<E> {
    /// Keeps the first error and returns the one to pass to the calling code.
    pub(crate) fn put(&self, error: E) -> io::Error {
        self.0.borrow_mut().get_or_insert(error);
        io::Error::other("refused by the reader beneath")
    }

    pub(crate) fn take(&self) -> Option<E> {
        self.0.borrow_mut().take()
    }
}

/// A reader that checks size and digest of a blob.
///
/// Data read from it is only valid once it has returned 0 (or [`Verified::finish`] has
/// returned `Ok`): an error at the end invalidates everything.
pub struct Verified<R> {
    inner: R,
    digest: Digest,
    expected: u64,
    read: u64,
    hasher: Hasher,
    done: bool,
    fault: Slot<BlobError>,
}

impl<'a> Verified<Box<dyn Read + 'a>> {
    /// Opens a blob.
    ///
    /// # Errors
    ///
    /// Those of [`Blobs::open`].
    pub fn open(blobs: &'a dyn Blobs, descriptor: &Descriptor) -> Result<Self, BlobError> {
        Ok(Self::new(blobs.open(descriptor)?, descriptor))
    }
}

impl<R: Read> Verified<R> {
    /// Checks what `inner` returns against `descriptor`.
    pub fn new(inner: R, descriptor: &Descriptor) -> Self {
        Self {
            inner,
            digest: descriptor.digest,
            expected: descriptor.size,
            read: 0,
            hasher: Hasher::default(),
            done: false,
            fault: Slot::default(),
        }
    }

    /// Reads and discards the rest, so that the whole blob is checked.
    ///
    /// # Errors
    ///
    /// What is wrong with the blob, even if a `read` has reported it before.
    pub fn finish(mut self) -> Result<(), BlobError> {
        let result = io::copy(&mut self, &mut io::sink());
        result.map(drop).map_err(|error| self.explain(error))
    }

    /// The error behind one that `read` returned.
    pub fn explain(&self, error: io::Error) -> BlobError {
        self.fault.take().unwrap_or(BlobError::Read {
            digest: self.digest,
            source: error,
        })
    }

    /// Where to find the error behind one of `read` when a decoder owns the reader.
    pub(crate) fn fault(&self) -> Slot<BlobError> {
        self.fault.clone()
    }

    fn check_end(&self) -> Result<(), BlobError> {
        let digest = self.digest;
        if self.read < self.expected {
            return Err(BlobError::Truncated {
                digest,
                expected: self.expected,
                found: self.read,
            });
        }
        let found = self.hasher.clone().finish();
        if found != digest {
            return Err(BlobError::Mismatch { digest, found });
        }
        Ok(())
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done || buffer.is_empty() {
            return Ok(0);
        }
        let read = match self.inner.read(buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(source) => {
                return Err(self.fault.put(BlobError::Read {
                    digest: self.digest,
                    source,
                }));
            }
        };
        if read == 0 {
            self.check_end().map_err(|error| self.fault.put(error))?;
            self.done = true;
            return Ok(0);
        }
        self.read += read as u64;
        if self.read > self.expected {
            return Err(self.fault.put(BlobError::Oversized {
                digest: self.digest,
                expected: self.expected,
            }));
        }
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Reads a whole blob into memory. `what` names its kind in the error about the limit.
///
/// # Errors
///
/// [`BlobError::TooLarge`], before anything is read, if the descriptor's size is over
/// `limit`; otherwise what is wrong with the blob.
pub fn read_whole(
    blobs: &dyn Blobs,
    descriptor: &Descriptor,
    limit: u64,
    what: &'static str,
) -> Result<Vec<u8>, BlobError> {
    if descriptor.size > limit {
        return Err(BlobError::TooLarge {
            digest: descriptor.digest,
            size: descriptor.size,
            limit,
            what,
        });
    }
    let mut reader = Verified::open(blobs, descriptor)?;
    let mut bytes = Vec::with_capacity(usize::try_from(descriptor.size).unwrap_or(0));
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(reader.explain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &[u8], descriptor: &Descriptor) -> Result<(), BlobError> {
        Verified::new(content, descriptor).finish()
    }

    #[test]
    fn the_right_content_passes() {
        let descriptor = Descriptor::of("text/plain", b"hello");
        let mut text = String::new();
        let mut reader = Verified::new(&b"hello"[..], &descriptor);
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        check(b"", &Descriptor::of("text/plain", b"")).unwrap();
    }

    #[test]
    fn every_deviation_is_told_apart() {
        let descriptor = Descriptor::of("text/plain", b"hello");
        assert!(matches!(
            check(b"hell", &descriptor),
            Err(BlobError::Truncated {
                found: 4,
                expected: 5,
                ..
            })
        ));
        assert!(matches!(
            check(b"hello!", &descriptor),
            Err(BlobError::Oversized { expected: 5, .. })
        ));
        let error = check(b"hallo", &descriptor).unwrap_err();
        assert!(
            matches!(&error, BlobError::Mismatch { found, .. } if *found == Digest::of(b"hallo"))
        );
        assert!(
            error.to_string().contains(&descriptor.digest.hex()),
            "{error}"
        );
    }
}
