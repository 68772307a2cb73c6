//! One digest over all inputs of a result, so that nothing is built twice.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::paths::FileError;

/// Leftovers of a user's own build beside a manifest, and its README: they change no
/// result.
const LEFTOVERS: [&str; 5] = [
    "target",
    "node_modules",
    "__pycache__",
    "app.wasm",
    "README.md",
];

/// Collects inputs; the same ones in the same order give the same digest.
pub(crate) struct Inputs(Sha256);

impl Inputs {
    /// No inputs yet.
    pub(crate) fn new() -> Inputs {
        Inputs(Sha256::new())
    }

    /// A text, such as a tool's version.
    pub(crate) fn text(mut self, text: &str) -> Inputs {
        self.bytes(text.as_bytes());
        self
    }

    /// Every file below `folder` with its path, except leftovers of builds.
    pub(crate) fn folder(mut self, folder: &Path) -> Result<Inputs, FileError> {
        for file in files(folder, &LEFTOVERS)? {
            let bytes = fs::read(folder.join(&file)).map_err(FileError::at(&file))?;
            self.bytes(file.to_string_lossy().as_bytes());
            self.bytes(&bytes);
        }
        Ok(self)
    }

    /// The digest in hexadecimal.
    pub(crate) fn digest(self) -> String {
        self.0
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Each piece is preceded by its length, so that pieces cannot be confused.
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

/// The files below `folder`, relative to it, in order, without the entries `but` directly
/// in it.
pub(crate) fn files(folder: &Path, but: &[&str]) -> Result<Vec<PathBuf>, FileError> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inside) = open.pop() {
        let at = folder.join(&inside);
        for entry in fs::read_dir(&at).map_err(FileError::at(&at))? {
            let entry = entry.map_err(FileError::at(&at))?;
            let name = entry.file_name();
            if inside.as_os_str().is_empty() && but.iter().any(|skipped| name == *skipped) {
                continue;
            }
            let kind = entry.file_type().map_err(FileError::at(&at))?;
            let list = if kind.is_dir() { &mut open } else { &mut found };
            list.push(inside.join(name));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(folder: &Path) -> String {
        Inputs::new().folder(folder).unwrap().digest()
    }

    #[test]
    fn leftovers_change_nothing_and_sources_do() {
        let folder = std::env::temp_dir().join(format!("builder-inputs-{}", std::process::id()));
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(folder.join("src/lib.rs"), "one").unwrap();
        let before = digest(&folder);

        fs::create_dir_all(folder.join("node_modules")).unwrap();
        fs::write(folder.join("node_modules/x"), "x").unwrap();
        fs::write(folder.join("app.wasm"), "x").unwrap();
        assert_eq!(digest(&folder), before);

        fs::write(folder.join("src/lib.rs"), "two").unwrap();
        let changed = digest(&folder);
        assert_ne!(changed, before);

        fs::rename(folder.join("src/lib.rs"), folder.join("src/main.rs")).unwrap();
        assert_ne!(digest(&folder), changed);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn pieces_do_not_run_into_each_other() {
        let split = |a: &str, b: &str| Inputs::new().text(a).text(b).digest();
        assert_ne!(split("ab", "c"), split("a", "bc"));
    }
}
