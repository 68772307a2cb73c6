//! containerd's configuration as text that others wrote: reading it, and adding and
//! removing a handler without changing any other byte.
//!
//! A block between two marks is added at the end of the file: nearly every file can
//! continue a table there, and one block is easy to remove. Tables written inline or as
//! dotted keys cannot be continued, so there the handler is put between them (`inside`).

mod block;
mod inside;

use std::path::{Path, PathBuf};

use toml_edit::{Document, Item, TableLike};

use crate::{HANDLER, RUNTIME};

pub use block::{block, block_in, drop_in, fresh, was_fresh, with_block, without_block};

/// Names by which CRI plugins are disabled.
const CRI: &[&str] = &[
    "cri",
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.runtime",
    "io.containerd.cri.v1.images",
];

/// Why a configuration is not changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not valid TOML.
    #[error("`{}` is not valid TOML, at line {line}", path.display())]
    Malformed {
        /// The file on the node.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong there.
        source: Box<toml_edit::TomlError>,
    },
    /// Its version is not supported.
    #[error(
        "`{}` is a configuration of version {version}, and handlers are added to versions 2 to 4; \
         `containerd config migrate` makes a newer one of it", path.display()
    )]
    Version {
        /// The file on the node.
        path: PathBuf,
        /// Its version, or 1 if it has none.
        version: i64,
    },
    /// Its CRI plugin is disabled.
    #[error(
        "`{}` turns `{plugin}` off at line {line}, so no pod can run on this containerd; \
         take it out of `disabled_plugins`", path.display()
    )]
    Disabled {
        /// The file on the node.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// The plugin.
        plugin: String,
    },
    /// There is a foreign handler of that name.
    #[error(
        "`{}` has a handler `{HANDLER}` at line {line} that is not ours: its type is `{kind}` \
         and not `{RUNTIME}`; rename it or take it out", path.display()
    )]
    Taken {
        /// The file on the node.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// Its type.
        kind: String,
    },
    /// A file that this one imports has a foreign handler.
    #[error(
        "a file that `{}` imports has a handler `{HANDLER}` that is not ours: its type is `{kind}` \
         and not `{RUNTIME}`; rename it or take it out", path.display()
    )]
    TakenElsewhere {
        /// The main file on the node.
        path: PathBuf,
        /// Its type.
        kind: String,
    },
    /// It has runtimes in two spellings; containerd 2 reads only one.
    #[error(
        "`{}` names runtimes in two spellings: `{}` at line {old} and `{}` at line {new}. \
         containerd 2 drops the former in silence; put all of them under the latter",
        path.display(), Family::Two.plugin(), Family::Three.plugin()
    )]
    TwoSpellings {
        /// The file on the node.
        path: PathBuf,
        /// Where the spelling of containerd 1.x is, counted from one.
        old: usize,
        /// Where that of containerd 2.x is.
        new: usize,
    },
    /// It has runtimes that containerd ignores.
    #[error(
        "`{}` names the runtime `{runtime}` under `{}` (line {line}), where this containerd reads \
         none in a file of version {version}: put it under `{}`",
        path.display(), Family::Two.plugin(), Family::Three.plugin()
    )]
    NotRead {
        /// The file on the node.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// The first that is ignored.
        runtime: String,
        /// The file's.
        version: i64,
    },
    /// It imports a missing file, with which containerd does not start.
    #[error(
        "`{}` imports `{import}`, which does not exist: containerd does not start with it; \
         take it out of `imports`", path.display()
    )]
    MissingImport {
        /// The file on the node.
        path: PathBuf,
        /// The import as written.
        import: String,
    },
    /// The handler cannot be added.
    #[error("`{}` cannot take a handler: `{key}` is not a table", path.display())]
    NoTable {
        /// The file on the node.
        path: PathBuf,
        /// The key that should be a table.
        key: String,
    },
}

/// Where handlers are in a configuration: the plugin that implements the CRI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Version 2, of containerd 1.x.
    Two,
    /// Version 3 and later, of containerd 2.x.
    Three,
}

impl Family {
    /// The schema of a version; none for an unknown one.
    pub fn of_version(version: i64) -> Option<Self> {
        match version {
            2 => Some(Self::Two),
            3 | 4 => Some(Self::Three),
            _ => None,
        }
    }

    /// The name of the plugin that has the handlers.
    pub fn plugin(self) -> &'static str {
        match self {
            Self::Two => "io.containerd.grpc.v1.cri",
            Self::Three => "io.containerd.cri.v1.runtime",
        }
    }

    /// The version to write into a new file.
    fn version(self) -> i64 {
        match self {
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

/// The handler as written to containerd's configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Handler {
    /// The shim's path, if containerd does not find it by its name.
    pub path: Option<PathBuf>,
    /// The base specification of containers, as of the default runtime.
    pub base_spec: Option<String>,
    /// Whether systemd makes the cgroups, as for the default runtime.
    pub systemd_cgroup: bool,
    /// Runtimes that have to be named with it. containerd 1.x has a default one, and
    /// forgets it as soon as another is configured.
    pub others: toml::Table,
}

/// The relevant facts of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Where its handlers are.
    pub family: Family,
    /// The files that it imports.
    pub imports: Vec<String>,
    /// Whether our handler was added by hand.
    pub by_hand: bool,
    /// Whether it names any runtime.
    pub has_runtimes: bool,
    /// Whether it is empty.
    pub empty: bool,
}

/// Reads a configuration without our block. `fallback` is the schema of an empty file.
///
/// # Errors
///
/// If it must not be changed.
pub fn read(text: &str, path: &Path, fallback: Family) -> Result<Said, ConfigError> {
    let document = parse(text, path)?;
    let table = document.as_table();
    if let Some((plugin, line)) = disabled(&document, text) {
        let path = path.to_owned();
        return Err(ConfigError::Disabled { path, line, plugin });
    }
    if table.is_empty() {
        return Ok(Said {
            family: fallback,
            imports: Vec::new(),
            by_hand: false,
            has_runtimes: false,
            empty: true,
        });
    }
    let version = table.get("version").and_then(Item::as_integer).unwrap_or(1);
    let family = Family::of_version(version).ok_or_else(|| ConfigError::Version {
        path: path.to_owned(),
        version,
    })?;
    // If runtimes are named in one spelling, one in the other would replace them.
    let spelled = |family| containerd(&document, family).is_some();
    let family = match (spelled(Family::Two), spelled(Family::Three)) {
        (true, false) if version < 4 => Family::Two,
        (false, true) if fallback == Family::Three => Family::Three,
        _ => family,
    };
    let imports = table.get("imports").and_then(Item::as_array);
    let imports = imports.into_iter().flatten();
    Ok(Said {
        family,
        imports: imports
            .filter_map(|import| import.as_str().map(str::to_owned))
            .collect(),
        by_hand: by_hand(&document, text, path)?,
        has_runtimes: runtimes(&document, family).is_some_and(|table| !table.is_empty()),
        empty: false,
    })
}

/// Checks that it is valid TOML.
fn parse<'a>(text: &'a str, path: &Path) -> Result<Document<&'a str>, ConfigError> {
    Document::parse(text).map_err(|source| ConfigError::Malformed {
        path: path.to_owned(),
        line: line_of(text, source.span().map_or(0, |span| span.start)),
        source: Box::new(source),
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count() + 1
}

fn disabled(document: &Document<&str>, text: &str) -> Option<(String, usize)> {
    let plugins = document.as_table().get("disabled_plugins")?.as_array()?;
    let hit = plugins
        .iter()
        .find(|plugin| plugin.as_str().is_some_and(|name| CRI.contains(&name)))?;
    let line = line_of(text, hit.span().map_or(0, |span| span.start));
    Some((hit.as_str()?.to_owned(), line))
}

/// Whether either plugin has a handler of our name: containerd 2 reads both.
fn by_hand(document: &Document<&str>, text: &str, path: &Path) -> Result<bool, ConfigError> {
    let mut found = false;
    for family in [Family::Two, Family::Three] {
        let runtimes = runtimes(document, family);
        let Some((key, handler)) = runtimes.and_then(|table| table.get_key_value(HANDLER)) else {
            continue;
        };
        let kind = handler
            .get("runtime_type")
            .and_then(Item::as_str)
            .unwrap_or_default();
        if kind != RUNTIME {
            let span = handler.span().or_else(|| key.span());
            return Err(ConfigError::Taken {
                path: path.to_owned(),
                line: line_of(text, span.map_or(0, |span| span.start)),
                kind: kind.to_owned(),
            });
        }
        found = true;
    }
    Ok(found)
}

/// The facts that decide whether containerd reads a file, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The file's version, or 1 if it has none.
    pub version: i64,
    /// The files that it imports.
    pub imports: Vec<String>,
    /// The line of the runtimes as containerd 1.x spells them.
    pub old_spelling: Option<usize>,
    /// The line of the runtimes as containerd 2.x spells them.
    pub new_spelling: Option<usize>,
    /// The runtimes in the old spelling.
    pub runtimes: Vec<String>,
    /// The line of a table `[grpc]`.
    pub grpc: Option<usize>,
}

/// Reads these facts of a file.
///
/// # Errors
///
/// If it is not valid TOML.
pub fn facts(text: &str, path: &Path) -> Result<Facts, ConfigError> {
    let document = parse(text, path)?;
    let table = document.as_table();
    let line = |key: &str| {
        let at = text.match_indices(key).find(|(at, _)| {
            let line = text[..*at].rsplit('\n').next().unwrap_or_default();
            !line.contains('#')
        });
        line_of(text, at.map_or(0, |(at, _)| at))
    };
    let spelled = |family: Family| containerd(&document, family).map(|_| line(family.plugin()));
    let names = runtimes(&document, Family::Two);
    let names = names.into_iter().flat_map(|table| table.iter());
    let imports = table.get("imports").and_then(Item::as_array);
    let imports = imports.into_iter().flatten();
    Ok(Facts {
        version: table.get("version").and_then(Item::as_integer).unwrap_or(1),
        imports: imports
            .filter_map(|import| import.as_str().map(str::to_owned))
            .collect(),
        old_spelling: spelled(Family::Two),
        new_spelling: spelled(Family::Three),
        runtimes: names.map(|(name, _)| name.to_owned()).collect(),
        grpc: table.get("grpc").map(|_| {
            line(if text.contains("[grpc") {
                "[grpc"
            } else {
                "grpc"
            })
        }),
    })
}

/// The table of a plugin's runtimes.
fn containerd<'a>(document: &'a Document<&str>, family: Family) -> Option<&'a dyn TableLike> {
    ["plugins", family.plugin(), "containerd"]
        .iter()
        .try_fold(document.as_table() as &dyn TableLike, |table, key| {
            table.get(key)?.as_table_like()
        })
}

fn runtimes<'a>(document: &'a Document<&str>, family: Family) -> Option<&'a dyn TableLike> {
    ["plugins", family.plugin(), "containerd", "runtimes"]
        .iter()
        .try_fold(document.as_table() as &dyn TableLike, |table, key| {
            table.get(key)?.as_table_like()
        })
}

/// The text with the handler in it.
///
/// # Errors
///
/// If it is not valid TOML, or has no place for it.
pub fn with_handler(
    text: &str,
    path: &Path,
    family: Family,
    handler: &Handler,
) -> Result<String, ConfigError> {
    let version = parse(text, path)?.as_table().is_empty();
    let continued = format!("{text}{}", block(family, handler, version));
    match Document::parse(continued.as_str()) {
        Ok(_) => Ok(continued),
        Err(_) => inside::insert(text, path, family, handler),
    }
}

/// The text without a handler outside a block, in inline tables; everything else stays
/// unchanged.
///
/// # Errors
///
/// If it is not valid TOML.
pub fn without_handler(text: &str, path: &Path) -> Result<String, ConfigError> {
    inside::remove(text, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/etc/containerd/config.toml";

    fn said(text: &str) -> Result<Said, ConfigError> {
        read(text, Path::new(FILE), Family::Three)
    }

    fn added(text: &str) -> String {
        let handler = Handler {
            systemd_cgroup: true,
            ..Handler::default()
        };
        let family = said(text).expect("a configuration").family;
        with_handler(text, Path::new(FILE), family, &handler).expect("room for a handler")
    }

    #[test]
    fn what_was_added_goes_without_a_trace() {
        for text in [
            "version = 2\n",
            "version = 2",
            "version = 3 # and\r\n\r\n[grpc]\r\n  address = \"x\"   \r\n",
            "version = 3\n\n\n# the end\n   ",
            "",
            "# nothing but this\n",
        ] {
            let with = added(text);
            assert_eq!(without_block(&with).as_deref(), Some(text), "{with}");
            let values: toml::Table = toml::from_str(&with).expect("TOML");
            assert!(values.contains_key("version"), "{with}");
        }
    }

    #[test]
    fn versions_have_their_plugins() {
        assert!(added("version = 2").contains("[plugins.\"io.containerd.grpc.v1.cri\".containerd"));
        assert!(added("version = 3").contains("[plugins.\"io.containerd.cri.v1.runtime\".cont"));
    }

    #[test]
    fn faults_name_their_lines() {
        let text = "version = 2\n[plugins]\nx = = 1\n";
        let error = said(text).expect_err("no TOML");
        assert_eq!(
            error.to_string(),
            format!("`{FILE}` is not valid TOML, at line 3")
        );
        let text = "version = 2\ndisabled_plugins = [\n  \"a\",\n  \"cri\"]\n";
        let error = said(text).expect_err("off").to_string();
        assert!(error.contains("turns `cri` off at line 4"), "{error}");
        let text = "version = 3\n\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.skiff]\nruntime_type = 'io.containerd.other.v1'\n";
        let error = said(text).expect_err("taken").to_string();
        assert!(error.contains("at line 3 that is not ours"), "{error}");
    }

    #[test]
    fn a_handler_is_spelled_as_the_others_are() {
        let table = |plugin: &str| {
            format!("[plugins.'{plugin}'.containerd.runtimes.nvidia]\nruntime_type = 'x'\n")
        };
        let (old, new) = (table(Family::Two.plugin()), table(Family::Three.plugin()));
        for (text, family) in [
            (format!("version = 2\n{old}"), Family::Two),
            (format!("version = 2\n{new}"), Family::Three),
            (format!("version = 3\n{old}"), Family::Two),
            (format!("version = 3\n{new}"), Family::Three),
            (format!("version = 4\n{old}"), Family::Three),
        ] {
            assert_eq!(said(&text).expect("readable").family, family, "{text}");
        }
        let both = format!("version = 2\n# {}\n{old}{new}", Family::Three.plugin());
        let facts = facts(&both, Path::new(FILE)).expect("TOML");
        assert_eq!((facts.old_spelling, facts.new_spelling), (Some(3), Some(5)));
        assert_eq!(facts.runtimes, ["nvidia"]);
    }

    #[test]
    fn old_versions_are_refused() {
        for text in ["version = 1\n", "root = \"/x\"\n", "version = 5\n"] {
            let error = said(text).expect_err("too old or new");
            assert!(matches!(error, ConfigError::Version { .. }), "{error}");
        }
    }

    #[test]
    fn a_handler_by_hand_is_seen() {
        let text = "version = 2\nplugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.skiff.runtime_type = 'io.containerd.skiff.v1'\n";
        assert!(said(text).expect("readable").by_hand);
        assert!(!said("version = 2\n").expect("readable").by_hand);
    }
}
