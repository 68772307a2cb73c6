//! Imports of a configuration.

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Value};

use crate::config::ConfigError;

/// The folders all of whose `.toml` files are imported.
pub(super) fn imported_folders(main: &Path, imports: &[String]) -> Vec<PathBuf> {
    let own = main.parent().unwrap_or(Path::new("/"));
    let folders = imports.iter().filter_map(|import| {
        let folder = import
            .strip_suffix("/*.toml")
            .or_else(|| import.strip_suffix("/*"))?;
        (!folder.contains('*')).then(|| own.join(folder))
    });
    folders.collect()
}

/// The same configuration as it would be read from another folder, with one more
/// file.
pub(super) fn with_imports(
    text: &str,
    main: &Path,
    more: Option<&Path>,
) -> Result<String, ConfigError> {
    let mut document = text
        .parse::<DocumentMut>()
        .map_err(|source| ConfigError::Malformed {
            path: main.to_owned(),
            line: 1,
            source: Box::new(source),
        })?;
    let own = main.parent().unwrap_or(Path::new("/"));
    let there = document.get("imports").and_then(|item| item.as_array());
    let imports = there.into_iter().flatten().filter_map(Value::as_str);
    let mut all: Vec<_> = imports.map(|import| own.join(import)).collect();
    all.extend(more.map(Path::to_owned));
    if !all.is_empty() {
        let all = all.iter().map(|path| path.to_string_lossy().into_owned());
        document["imports"] = toml_edit::value(toml_edit::Array::from_iter(all));
    }
    Ok(document.to_string())
}
