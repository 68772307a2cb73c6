//! What containerd really reads. `config dump` does not show that: it prints imports that
//! are not read, and tables that are ignored. Files whose settings have no effect are
//! reported by name, before a restart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::{self, ConfigError, Family};
use crate::dump::Dump;
use crate::host::{Host, HostError};

use super::TargetError;

/// Checks a configuration file and all its imports. Returns notes on harmless settings
/// without effect.
///
/// # Errors
///
/// If containerd would lose something, or not start, when it reads it again.
pub(super) fn look(
    host: &Host,
    main: &Path,
    text: &str,
    now: &Dump,
) -> Result<Vec<String>, TargetError> {
    let mut read = BTreeSet::new();
    let mut notes = Vec::new();
    let mut pending = vec![(main.to_owned(), text.to_owned())];
    while let Some((path, text)) = pending.pop() {
        if !read.insert(path.clone()) {
            continue;
        }
        // containerd itself has already refused invalid TOML.
        let Ok(facts) = config::facts(&text, &path) else {
            continue;
        };
        if now.family() == Family::Three {
            if let (Some(old), Some(new)) = (facts.old_spelling, facts.new_spelling) {
                return Err(ConfigError::TwoSpellings { path, old, new }.into());
            }
            if let Some(line) = facts.old_spelling
                && let Some(runtime) = facts.runtimes.iter().find(|name| !now.has(name))
            {
                return Err(ConfigError::NotRead {
                    path,
                    line,
                    runtime: runtime.clone(),
                    version: facts.version,
                }
                .into());
            }
            if let Some(line) = facts.grpc.filter(|_| facts.version >= 4) {
                notes.push(format!(
                    "`{}` has a table `[grpc]` at line {line}, which containerd ignores in a \
                     file of version {}: it listens on `{}`",
                    path.display(),
                    facts.version,
                    now.socket().display()
                ));
            }
        }
        for import in facts.imports {
            let found = matching(host, &path, &import)?;
            let Some(found) = found else {
                return Err(ConfigError::MissingImport { path, import }.into());
            };
            for imported in found {
                let text = host.read_text(&imported)?.unwrap_or_default();
                pending.push((imported, text));
            }
        }
    }
    for import in now.imports() {
        for path in matching(host, main, import)?.unwrap_or_default() {
            if !read.contains(&path) {
                notes.push(format!(
                    "`{}` is not read by containerd, although `config dump` prints \
                     `{import}`: no `imports` of `{}` names it",
                    path.display(),
                    main.display()
                ));
            }
        }
    }
    Ok(notes)
}

/// The files that an import of `from` names; `None` for a single missing file.
fn matching(host: &Host, from: &Path, import: &str) -> Result<Option<Vec<PathBuf>>, HostError> {
    let path = from.parent().unwrap_or(Path::new("/")).join(import);
    if !import.contains('*') {
        return Ok(host.exists(&path).then(|| vec![path]));
    }
    let (Some(folder), Some(pattern)) = (path.parent(), path.file_name()) else {
        return Ok(Some(Vec::new()));
    };
    if !host.exists(folder) {
        return Ok(Some(Vec::new()));
    }
    let names = host.names_in(folder)?.into_iter();
    let fitting = names.filter(|name| fits(&name.to_string_lossy(), &pattern.to_string_lossy()));
    Ok(Some(fitting.map(|name| folder.join(name)).collect()))
}

/// Whether a name matches a pattern with stars.
fn fits(name: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return name == pattern;
    };
    let Some(name) = name.strip_prefix(start) else {
        return false;
    };
    let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    ends.any(|at| fits(&name[at..], rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (name, pattern) in [("a.toml", "*.toml"), ("a.toml", "*"), ("20-a.b", "2*a.*")] {
            assert!(fits(name, pattern), "{name} {pattern}");
        }
        for (name, pattern) in [("a.toml.bak", "*.toml"), ("b", "a*"), ("a", "")] {
            assert!(!fits(name, pattern), "{name} {pattern}");
        }
    }
}
