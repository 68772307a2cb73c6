//! The file beside compiled code: its size and digest, and the identity of the file when
//! the digest was last checked, so that an unchanged file is not read again before it is
//! mapped.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use sha2::{Digest as _, Sha256};

use crate::Resources;

/// A file's identity in the kernel: a file cannot be written or replaced without changing
/// its inode or change time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    size: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Identity {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Identity {
            size: metadata.size(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// A seal in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) identity: Identity,
    pub(crate) digest: String,
    pub(crate) resources: Resources,
}

const HEADER: &str = "skiff-seal-1";

impl Seal {
    pub(crate) fn to_text(&self) -> String {
        let Identity {
            size,
            inode,
            changed: (seconds, nanoseconds),
        } = self.identity;
        let Resources {
            memories,
            tables,
            table_elements,
        } = self.resources;
        format!(
            "{HEADER} {} {size} {inode} {seconds} {nanoseconds} {memories} {tables} {table_elements}\n",
            self.digest
        )
    }

    /// `None` unless the text is a complete seal of this version.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        if words.next()? != HEADER {
            return None;
        }
        let digest = words.next()?.to_owned();
        let seal = Seal {
            identity: Identity {
                size: words.next()?.parse().ok()?,
                inode: words.next()?.parse().ok()?,
                changed: (words.next()?.parse().ok()?, words.next()?.parse().ok()?),
            },
            digest,
            resources: Resources {
                memories: words.next()?.parse().ok()?,
                tables: words.next()?.parse().ok()?,
                table_elements: words.next()?.parse().ok()?,
            },
        };
        words.next().is_none().then_some(seal)
    }

    /// Whether `file` is the sealed one: by identity alone if that is unchanged, else by
    /// reading it. The second value is whether it was read.
    pub(crate) fn matches(&self, file: &File) -> io::Result<(bool, bool)> {
        let identity = Identity::of(file)?;
        if identity == self.identity {
            return Ok((true, false));
        }
        if identity.size != self.identity.size {
            return Ok((false, false));
        }
        Ok((digest(file)? == self.digest, true))
    }
}

/// The SHA-256 of a file from its start, as 64 hexadecimal digits.
fn digest(file: &File) -> io::Result<String> {
    let mut file = file.try_clone()?;
    io::Seek::rewind(&mut file)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// The SHA-256 of bytes, as 64 hexadecimal digits.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_written_is_the_seal_read_and_half_of_one_is_none() {
        let seal = Seal {
            identity: Identity {
                size: 5,
                inode: 7,
                changed: (1, 2),
            },
            digest: "ab".into(),
            resources: Resources {
                memories: 1,
                tables: 2,
                table_elements: 3,
            },
        };
        let text = seal.to_text();
        assert_eq!(Seal::parse(&text), Some(seal));
        assert_eq!(Seal::parse(&text[..text.len() - 1]), None);
        assert_eq!(Seal::parse(""), None);
    }
}
