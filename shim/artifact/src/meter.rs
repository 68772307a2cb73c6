//! Counts what an archive produces, and stops it at the limits.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use crate::blobs::Slot;
use crate::{Digest, Limits};

/// A limit that was reached: by a bomb, or by an application that needs a higher limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// [`Limits::files`].
    #[error("the artifact holds more than {limit} files, folders and links")]
    Files {
        /// The limit.
        limit: u64,
    },
    /// [`Limits::bytes`].
    #[error("the artifact unpacks to more than {limit} bytes")]
    Bytes {
        /// The limit.
        limit: u64,
    },
    /// [`Limits::ratio`].
    #[error("layer {layer} unpacks to more than {limit} times its size")]
    Ratio {
        /// The affected layer.
        layer: Digest,
        /// The limit.
        limit: u64,
    },
    /// [`Limits::wasm`].
    #[error("layer {layer} holds {size} bytes of WebAssembly, over the limit of {limit} bytes")]
    Wasm {
        /// The affected layer.
        layer: Digest,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A name, link or attribute of an archive that is kept in memory while it is read.
    #[error("layer {layer} has an entry with a header of more than {limit} bytes")]
    Header {
        /// The affected layer.
        layer: Digest,
        /// The limit.
        limit: u64,
    },
}

/// Names and links have at most 4 KiB, extended attributes 64 KiB each: this is enough for
/// everything that one file can have.
const HEADER_LIMIT: u64 = 1 << 20;

/// What remains of an artifact's limits.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    files: Cell<u64>,
    bytes: Cell<u64>,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            files: Cell::new(0),
            bytes: Cell::new(0),
        }
    }

    /// Counts one file, folder or link.
    pub(crate) fn file(&self) -> Result<(), LimitError> {
        let limit = self.limits.files;
        self.files.set(self.files.get() + 1);
        if self.files.get() > limit {
            return Err(LimitError::Files { limit });
        }
        Ok(())
    }

    /// Counts unpacked bytes.
    pub(crate) fn bytes(&self, count: u64) -> Result<(), LimitError> {
        let limit = self.limits.bytes;
        self.bytes.set(self.bytes.get().saturating_add(count));
        if self.bytes.get() > limit {
            return Err(LimitError::Bytes { limit });
        }
        Ok(())
    }

    /// Checks the size of a WebAssembly binary; its bytes are counted when it is written.
    pub(crate) fn wasm(&self, layer: Digest, size: u64) -> Result<(), LimitError> {
        let limit = self.limits.wasm;
        if size > limit {
            return Err(LimitError::Wasm { layer, size, limit });
        }
        Ok(())
    }
}

/// A reader of decompressed bytes that stops at the limits.
pub(crate) struct Meter<'a, R> {
    inner: R,
    budget: &'a Budget,
    layer: Digest,
    packed: u64,
    unpacked: u64,
    header: HeaderGauge,
    excess: Slot<LimitError>,
}

/// Informs a [`Meter`] whether its reader is between the contents of two entries, where
/// archive readers keep in memory what they read.
#[derive(Clone, Default)]
pub(crate) struct HeaderGauge(Rc<Cell<Option<u64>>>);

impl HeaderGauge {
    pub(crate) fn start(&self) {
        self.0.set(Some(HEADER_LIMIT));
    }

    pub(crate) fn stop(&self) {
        self.0.set(None);
    }

    /// `false` if the header has become too long.
    fn count(&self, read: u64) -> bool {
        let Some(left) = self.0.get() else {
            return true;
        };
        self.0.set(Some(left.saturating_sub(read)));
        read <= left
    }
}

impl<'a, R: Read> Meter<'a, R> {
    /// `packed` is the compressed size of the layer that `inner` decompresses.
    pub(crate) fn new(inner: R, budget: &'a Budget, layer: Digest, packed: u64) -> Self {
        Self {
            inner,
            budget,
            layer,
            packed,
            unpacked: 0,
            header: HeaderGauge::default(),
            excess: Slot::default(),
        }
    }

    pub(crate) fn header(&self) -> HeaderGauge {
        self.header.clone()
    }

    /// Where the limit that was reached is stored.
    pub(crate) fn excess(&self) -> Slot<LimitError> {
        self.excess.clone()
    }

    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    fn check(&self, read: u64) -> Result<(), LimitError> {
        self.budget.bytes(read)?;
        if !self.header.count(read) {
            return Err(LimitError::Header {
                layer: self.layer,
                limit: HEADER_LIMIT,
            });
        }
        let limit = self.budget.limits.ratio;
        let over = self.unpacked > self.packed.max(1).saturating_mul(limit);
        if over && self.unpacked > Limits::RATIO_FROM {
            return Err(LimitError::Ratio {
                layer: self.layer,
                limit,
            });
        }
        Ok(())
    }
}

impl<R: Read> Read for Meter<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.unpacked += read as u64;
        self.check(read as u64)
            .map_err(|excess| self.excess.put(excess))?;
        Ok(read)
    }
}
