//! How layers are compressed, regardless of their media types.
//!
//! containerd looks at the first bytes of a layer and not at its media type, so an image
//! that runs in a cluster may say `gzip` and contain zstd.

use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The first bytes of every gzip file.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// The first bytes of every zstd frame.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The first bytes of a skippable zstd frame: the first one may be anything from 0x50 to
/// 0x5f.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// A compression format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// How many bytes are needed to detect the format.
    pub(crate) const MAGIC: usize = 4;

    /// Detects the format by the first bytes.
    pub(crate) fn of(start: &[u8]) -> Self {
        if start.starts_with(GZIP) {
            return Self::Gzip;
        }
        let skippable = start.first().is_some_and(|first| first & 0xf0 == 0x50)
            && start[1..].starts_with(ZSTD_SKIPPABLE);
        if skippable || start.starts_with(ZSTD) {
            return Self::Zstd;
        }
        Self::None
    }
}

/// The first bytes, which were read to detect the format, followed by the rest.
type Whole<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// A layer's decompressed bytes.
pub(crate) enum Decoder<R: Read> {
    Plain(Whole<R>),
    Gzip(Box<MultiGzDecoder<Whole<R>>>),
    Zstd(Box<Zstd<Whole<R>>>),
}

impl<R: Read> Decoder<R> {
    /// Reads as many bytes as detection needs.
    ///
    /// # Errors
    ///
    /// The error of reading them, which the reader returned.
    pub(crate) fn new(mut inner: R) -> Result<Self, (io::Error, R)> {
        let mut start = Vec::with_capacity(Compression::MAGIC);
        let read = inner
            .by_ref()
            .take(Compression::MAGIC as u64)
            .read_to_end(&mut start);
        if let Err(error) = read {
            return Err((error, inner));
        }
        let compression = Compression::of(&start);
        let whole = io::Cursor::new(start).chain(inner);
        Ok(match compression {
            Compression::None => Self::Plain(whole),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(whole))),
            Compression::Zstd => Self::Zstd(Box::new(Zstd::new(whole))),
        })
    }

    /// Whether it is a WebAssembly binary, which is never an archive.
    pub(crate) fn is_wasm(&self) -> bool {
        match self {
            Self::Plain(whole) => whole.get_ref().0.get_ref() == b"\0asm",
            Self::Gzip(_) | Self::Zstd(_) => false,
        }
    }

    pub(crate) fn into_inner(self) -> R {
        let whole = match self {
            Self::Plain(whole) => whole,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.source.into_inner(),
        };
        whole.into_inner().1
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(inner) => inner.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// zstd frames, one after the other.
pub(crate) struct Zstd<R: Read> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: Read> Zstd<R> {
    fn new(source: R) -> Self {
        Self {
            source: BufReader::new(source),
            decoder: FrameDecoder::new(),
            in_frame: false,
        }
    }

    /// Moves to the next frame with content; `false` at the end.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let mut skipped = self.source.by_ref().take(length);
                    if io::copy(&mut skipped, &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(invalid(error)),
            }
        }
        Ok(false)
    }

    fn end(&mut self) -> io::Result<()> {
        self.in_frame = false;
        match (
            self.decoder.get_checksum_from_data(),
            self.decoder.get_calculated_checksum(),
        ) {
            (Some(said), Some(found)) if said != found => {
                Err(invalid("a frame's checksum does not match"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.begin()? {
                return Ok(0);
            }
            self.in_frame = true;
            if self.decoder.can_collect() < buffer.len() && !self.decoder.is_finished() {
                let more = BlockDecodingStrategy::UptoBytes(buffer.len());
                self.decoder
                    .decode_blocks(&mut self.source, more)
                    .map_err(invalid)?;
            }
            match self.decoder.read(buffer)? {
                0 if self.decoder.is_finished() => self.end()?,
                0 => {}
                read => return Ok(read),
            }
        }
    }
}

/// The error for bytes that do not decode. The decoder does not distinguish a premature
/// end; a layer whose bytes are incomplete is refused by the reader below.
fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let Ok(mut decoder) = Decoder::new(bytes) else {
            panic!("bytes in memory can be read");
        };
        let mut out = Vec::new();
        decoder.read_to_end(&mut out).map(|_| out)
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    #[test]
    fn bytes_tell_how_they_are_packed() {
        let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(read(&zstd(&content)).unwrap(), content);
        for plain in [&content[..], b"", b"\x1f", b"\x28\xb5", b"hello"] {
            assert_eq!(read(plain).unwrap(), plain);
        }
    }

    #[test]
    fn frames_follow_each_other_and_some_are_left_out() {
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let frames = [&skippable[..], &zstd(b"one, "), &skippable, &zstd(b"two")].concat();
        assert_eq!(read(&frames).unwrap(), b"one, two");
    }

    #[test]
    fn a_frame_that_ends_early_is_no_end() {
        let whole = zstd(&[7; 1000]);
        for length in 4..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
    }
}
