//! The fenced blocks of the README and of the pages of `docs/`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::paths;

/// The checkout.
///
/// # Panics
///
/// As [`paths::target_dir`].
pub fn checkout() -> PathBuf {
    let target = paths::target_dir();
    let root = target.parent().map(Path::to_owned);
    root.expect("the target folder is in the checkout")
}

/// The README and every page of `docs/`: paths and texts.
///
/// # Errors
///
/// When one cannot be read.
pub fn all() -> io::Result<Vec<(PathBuf, String)>> {
    let mut files = vec![checkout().join("README.md")];
    for entry in fs::read_dir(checkout().join("docs"))? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "md"));
    files.sort();
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file)?;
        Ok((file, text))
    };
    files.into_iter().map(read).collect()
}

/// The blocks of a page in one language, such as `sh`.
pub fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("```{language}\n");
    let rest = page.split(&*fence).skip(1);
    rest.filter_map(|text| Some(text.split_once("```")?.0))
        .collect()
}
