//! The content of an installer image.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::PROGRAM;
use crate::defaults::Defaults;

/// How many bytes of a file are compared at once.
const PIECE: usize = 64 << 10;

/// What can be wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The program is missing.
    #[error("`{}` does not exist; --payload must name the folder of the program", path.display())]
    NoProgram {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The version is empty, or not a file name.
    #[error(
        "`{0}` is not a version: it has letters, digits, `.`, `-` and `_`, and begins with a letter or digit"
    )]
    Version(String),
}

/// One version, to be installed on nodes.
#[derive(Debug, Clone)]
pub struct Payload {
    folder: PathBuf,
    version: String,
    defaults: Option<Defaults>,
}

impl Payload {
    /// Reads the folder of an installer image: `skiff`, the layout `hello`, and, if the
    /// version is not the installer's own, a file `version`.
    ///
    /// # Errors
    ///
    /// If the program is missing, or the version is invalid.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, PayloadError> {
        let folder = folder.into();
        let file = folder.join("version");
        let version = match fs::read_to_string(&file) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                env!("CARGO_PKG_VERSION").to_owned()
            }
            Err(source) => return Err(PayloadError::Read { path: file, source }),
        };
        if !is_version(&version) {
            return Err(PayloadError::Version(version));
        }
        let payload = Self {
            folder,
            version,
            defaults: None,
        };
        let path = payload.program();
        if !path.is_file() {
            return Err(PayloadError::NoProgram { path });
        }
        Ok(payload)
    }

    /// The same, with the operator's defaults for applications.
    pub fn with_defaults(self, defaults: Option<Defaults>) -> Self {
        Self { defaults, ..self }
    }

    /// The operator's defaults for applications.
    pub(crate) fn defaults(&self) -> Option<&Defaults> {
        self.defaults.as_ref()
    }

    /// Its version: a folder's name, and the value of a label.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The program that nodes get.
    pub fn program(&self) -> PathBuf {
        self.folder.join(PROGRAM)
    }

    /// The application that checks them, as an OCI layout.
    pub fn hello(&self) -> PathBuf {
        self.folder.join("hello")
    }
}

/// Whether it is valid as the value of a Kubernetes label and as the name of a folder
/// that is not hidden.
fn is_version(text: &str) -> bool {
    const LONGEST_LABEL: usize = 63;
    let plain = |char: char| char.is_ascii_alphanumeric() || ".-_".contains(char);
    let at_the_ends = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
    text.len() <= LONGEST_LABEL
        && text.chars().all(plain)
        && at_the_ends(text.chars().next())
        && at_the_ends(text.chars().last())
        && text != "current"
}

/// Whether two files hold the same.
///
/// # Errors
///
/// If one of them exists and cannot be read.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    let sizes = (fs::metadata(one)?.len(), fs::metadata(other));
    match sizes.1 {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(data) if data.len() != sizes.0 => return Ok(false),
        Ok(_) => {}
    }
    // Piece by piece: the pod has less memory than two programs need.
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let mut pieces = [vec![0; PIECE], vec![0; PIECE]];
    let [left, right] = &mut pieces;
    loop {
        let length = one.read(left)?;
        if length == 0 {
            return Ok(true);
        }
        match other.read_exact(&mut right[..length]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_same_by_every_byte() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).expect("written");
            path
        };
        let long = vec![7; 3 * PIECE + 5];
        let mut other = long.clone();
        other[3 * PIECE + 4] = 8;
        let (one, same) = (write("one", &long), write("same", &long));
        let (last, shorter) = (write("last", &other), write("shorter", &long[1..]));
        assert!(is_same_file(&one, &same).expect("read"));
        assert!(!is_same_file(&one, &last).expect("read"));
        assert!(!is_same_file(&one, &shorter).expect("read"));
        assert!(!is_same_file(&one, &folder.path().join("none")).expect("read"));
    }

    #[test]
    fn a_version_names_a_folder_and_a_label() {
        for good in ["0.1.0", "1.0.0-rc.1", "0.1.0-dev_2"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "../etc", "1/2", "current", ".1", "1.0+build", "1."] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
