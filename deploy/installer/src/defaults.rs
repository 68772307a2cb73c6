//! The operator's defaults for applications: from the chart's values and Secrets to a file
//! of the node that the shim reads at each start of a pod.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use skiff_manifest::Faults;
use skiff_manifest::runtime;
use toml_edit::{DocumentMut, Item, TableLike, value};

use crate::host::{Host, HostError};
use crate::layouts::STATE;
use crate::plan::Plan;

/// The file's name, in the folder that is mounted and in the shim's state folder.
const FILE: &str = "defaults.toml";

/// The beginning of a file that this program wrote. One that an administrator wrote by hand
/// is only replaced, never removed.
const MARK: &str = "# Written by skiff-installer, which overwrites changes.\n";

/// The key of a table that stands for the content of a file.
const FROM_FILE: &str = "file";

/// What can be wrong with the defaults. Nothing is put on the node then.
#[derive(Debug, thiserror::Error)]
pub enum DefaultsError {
    /// A file cannot be read.
    #[error("cannot read `{}` for the operator's defaults", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not TOML. The parser's own message could show a secret.
    #[error("`{}` is not TOML", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
    },
    /// It has mistakes.
    #[error("the operator's defaults: {0}")]
    Faults(#[from] Faults),
}

/// Checked defaults, with all secrets in place.
#[derive(Clone, PartialEq, Eq)]
pub struct Defaults(String);

impl std::fmt::Debug for Defaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Defaults(hidden)")
    }
}

impl Defaults {
    /// Reads `defaults.toml` of a folder; `None` if the folder has none. A table that has
    /// only the key `file` stands for the content of that file of the folder, without the
    /// newline at its end: so a Secret can be mounted beside it.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the shim would refuse the defaults.
    pub fn read(folder: &Path) -> Result<Option<Self>, DefaultsError> {
        let path = folder.join(FILE);
        let text = match read(&path) {
            Err(DefaultsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            text => text?,
        };
        let Ok(mut document) = text.parse::<DocumentMut>() else {
            return Err(DefaultsError::Toml { path });
        };
        fill(document.as_table_mut(), folder)?;
        let text = format!("{MARK}{document}");
        runtime::Defaults::read(&text, FILE, None)?;
        Ok(Some(Defaults(text)))
    }
}

fn read(path: &Path) -> Result<String, DefaultsError> {
    fs::read_to_string(path).map_err(|source| DefaultsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Replaces tables that stand for a file by its content.
fn fill(table: &mut dyn TableLike, folder: &Path) -> Result<(), DefaultsError> {
    for (_, item) in table.iter_mut() {
        let Some(inner) = item.as_table_like_mut() else {
            continue;
        };
        match named_file(inner) {
            Some(name) => {
                let content = read(&folder.join(name))?;
                *item = value(content.trim_end_matches(['\r', '\n']));
            }
            None => fill(inner, folder)?,
        }
    }
    Ok(())
}

fn named_file(table: &dyn TableLike) -> Option<String> {
    let file = table.get(FROM_FILE).and_then(Item::as_str)?;
    (table.len() == 1).then(|| file.to_owned())
}

/// Where the shim finds them.
fn place() -> PathBuf {
    Path::new(STATE).join(FILE)
}

/// Adds what puts these defaults on the node. Without any, a file that this program wrote
/// is removed. `before` is the folder of the version that is replaced, which keeps the
/// defaults that were used with it.
///
/// # Errors
///
/// If a file cannot be read.
pub(crate) fn put(
    plan: &mut Plan,
    host: &Host,
    defaults: Option<&Defaults>,
    before: Option<&Path>,
) -> Result<(), HostError> {
    let place = place();
    let old = host.read(&place)?;
    if let Some(before) = before {
        plan.private_file(host, &before.join(FILE), old.clone())?;
    }
    match defaults {
        Some(Defaults(text)) => {
            plan.folder(host, Path::new(STATE))?;
            plan.private_file(host, &place, Some(text.clone().into_bytes()))
        }
        None if is_ours(old.as_deref()) => plan.private_file(host, &place, None),
        None => Ok(()),
    }
}

fn is_ours(text: Option<&[u8]>) -> bool {
    text.is_some_and(|text| text.starts_with(MARK.as_bytes()))
}

/// Adds what puts back the defaults that the version in this folder was used with.
///
/// # Errors
///
/// If a file cannot be read.
pub(crate) fn put_back(plan: &mut Plan, host: &Host, version: &Path) -> Result<(), HostError> {
    let place = place();
    match host.read(&version.join(FILE))? {
        Some(kept) => plan.private_file(host, &place, Some(kept)),
        None if is_ours(host.read(&place)?.as_deref()) => plan.private_file(host, &place, None),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        folder
    }

    #[test]
    fn secrets_come_from_the_files_beside_it() {
        let folder = folder(&[
            (
                "defaults.toml",
                "[key_value_store.default]\ntype = 'postgres'\nurl = { file = 'secrets/kv/url' }\n\
                 [namespace.shop.sqlite_database.default]\ntype = 'libsql'\nurl = 'https://sql'\n\
                 [namespace.shop.sqlite_database.default.token]\nfile = 'secrets/sql/token'\n",
            ),
            ("secrets/kv/url", "postgres://skiff:one\"two@db/kv\n"),
            ("secrets/sql/token", "three"),
        ]);
        let defaults = Defaults::read(folder.path())
            .expect("right")
            .expect("there");
        assert!(defaults.0.contains(r#"one"two"#), "{}", defaults.0);
        assert!(defaults.0.contains("three"), "{}", defaults.0);
        assert!(!format!("{defaults:?}").contains("one"));
    }

    #[test]
    fn mistakes_are_named_and_no_secret_is_shown() {
        let folder = folder(&[
            (
                "defaults.toml",
                "[key_value_store.default]\ntype = 'redis'\nurl = { file = 'url' }\n",
            ),
            ("url", "hunter2"),
        ]);
        let error = Defaults::read(folder.path()).expect_err("no URL");
        let told = error.to_string();
        assert!(
            told.contains("`key_value_store.default.url` must be a URL"),
            "{told}"
        );
        assert!(!told.contains("hunter2"), "{told}");
        fs::remove_file(folder.path().join("url")).expect("removed");
        let error = Defaults::read(folder.path()).expect_err("no file");
        assert!(error.to_string().contains("/url`"), "{error}");
        fs::write(folder.path().join("defaults.toml"), "a = hunter2").expect("written");
        let error = Defaults::read(folder.path()).expect_err("no TOML");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn a_folder_without_the_file_has_none() {
        assert!(Defaults::read(folder(&[]).path()).expect("right").is_none());
    }
}
