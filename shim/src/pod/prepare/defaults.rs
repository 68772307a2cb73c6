//! The operator's defaults, from a file of the node.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use skiff_manifest::Faults;
use skiff_manifest::runtime::Defaults;

use crate::app::{MOST_BYTES, read_text};

/// Permissions of others than the owner.
const OF_OTHERS: u32 = 0o077;

/// Why the operator's defaults cannot be used. No application starts without them: it might
/// keep its data in the wrong place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DefaultsError {
    /// The file cannot be read.
    #[error("cannot read the operator's defaults `{}` of the node", file.display())]
    Read { file: PathBuf, source: io::Error },
    /// Others than its owner may use it.
    #[error("the operator's defaults `{}` of the node may hold passwords, and their mode {mode:o} lets others than root use them; set it to 600", file.display())]
    Mode { file: PathBuf, mode: u32 },
    /// The file has mistakes.
    #[error("the operator's defaults of the node: {0}")]
    Faults(#[from] Faults),
}

/// The defaults for the pods of a namespace; `None` without the file.
///
/// # Errors
/// If the file cannot be read, is larger than 1 MiB, may be used by others than its owner,
/// or has mistakes.
pub(crate) fn read(
    file: &Path,
    namespace: Option<&str>,
) -> Result<Option<Defaults>, DefaultsError> {
    let text = match text_of(file) {
        Err(DefaultsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        text => text?,
    };
    let name = file.to_string_lossy();
    Ok(Some(Defaults::read(&text, &name, namespace)?))
}

fn text_of(file: &Path) -> Result<String, DefaultsError> {
    let failed = |source| DefaultsError::Read {
        file: file.to_owned(),
        source,
    };
    let opened = File::open(file).map_err(failed)?;
    let mode = opened.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & OF_OTHERS != 0 {
        let file = file.to_owned();
        return Err(DefaultsError::Mode { file, mode });
    }
    read_text(opened, MOST_BYTES).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn of(text: &str, mode: u32) -> Result<Option<Defaults>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("defaults.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        read(&file, Some("shop")).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    }

    #[test]
    fn a_node_without_the_file_has_no_defaults() {
        assert!(
            read(Path::new("/nowhere/defaults.toml"), None)
                .unwrap()
                .is_none()
        );
        assert!(of("", 0o600).unwrap().is_some());
    }

    #[test]
    fn defaults_that_others_can_read_are_refused() {
        let told = of("", 0o644).unwrap_err();
        assert!(told.contains("mode 644"), "{told}");
    }

    #[test]
    fn mistakes_of_the_operator_are_named_with_their_place() {
        let told = of("[key_value_store.default]\ntype = 'ftp'", 0o400).unwrap_err();
        assert!(
            told.contains("the operator's defaults of the node: "),
            "{told}"
        );
        assert!(told.contains("defaults.toml:2:8"), "{told}");
        let told = of(&"#".repeat(MOST_BYTES as usize + 1), 0o600).unwrap_err();
        assert!(told.contains("more than 1048576 bytes"), "{told}");
    }
}
