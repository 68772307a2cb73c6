//! Settings of the node, which pods can neither see nor change.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Kind, SettingError, SettingErrors, parse};

/// Default folder for node data that outlives pods.
const DEFAULT_STATE_FOLDER: &str = "/var/lib/skiff";

/// Room for two of the largest applications that can be unpacked, and for many with a few
/// megabytes.
const DEFAULT_APPS_SIZE: u64 = 10 << 30;

/// What the node's administrator may set in containerd's own environment. Pods can
/// neither see nor change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettings {
    /// Unpacked applications and compiled code; only root may write there.
    pub state: PathBuf,
    /// The size limit of unpacked applications in bytes.
    pub apps_size: u64,
    /// The size limit of compiled code in bytes.
    pub cache_size: u64,
    /// How many applications may do the memory-intensive part of preparing at once;
    /// `None` means as many as half of the machine's memory has room for.
    pub prepares: Option<NonZeroU32>,
}

impl NodeSettings {
    /// The variable that names the state folder.
    pub const STATE: &'static str = "SKIFF_STATE_DIR";
    /// The variable that bounds unpacked applications.
    pub const APPS_SIZE: &'static str = "SKIFF_APPS_SIZE";
    /// The variable that bounds compiled code.
    pub const CACHE_SIZE: &'static str = "SKIFF_CACHE_SIZE";
    /// The variable that bounds how many applications are prepared at once.
    pub const PREPARES: &'static str = "SKIFF_MAX_PREPARES";

    /// The defaults, with the given state folder.
    pub fn at(state: &Path) -> Self {
        NodeSettings {
            state: state.to_owned(),
            apps_size: DEFAULT_APPS_SIZE,
            cache_size: skiff_engine::Cache::DEFAULT_LIMIT,
            prepares: None,
        }
    }

    /// Reads them; `var` is the environment in production and a closure in tests.
    ///
    /// # Errors
    /// All values that do not parse. That includes a relative path, which would depend on
    /// the process that starts the shim.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Result<Self, SettingErrors> {
        let mut node = NodeSettings::at(Path::new(DEFAULT_STATE_FOLDER));
        let mut faults = Vec::new();
        let mut set = |name: &str, expected, set: &mut dyn FnMut(&str) -> Option<()>| {
            let Some(value) = var(name) else { return };
            if set(value.trim()).is_none() {
                faults.push(SettingError {
                    name: name.to_owned(),
                    value,
                    expected,
                });
            }
        };
        set(Self::STATE, "an absolute path", &mut |value| {
            let path = value.starts_with('/').then(|| PathBuf::from(value));
            path.map(|path| node.state = path)
        });
        set(Self::APPS_SIZE, Kind::Size.expected(), &mut |value| {
            parse::size(value).map(|size| node.apps_size = size)
        });
        set(Self::CACHE_SIZE, Kind::Size.expected(), &mut |value| {
            parse::size(value).map(|size| node.cache_size = size)
        });
        set(Self::PREPARES, Kind::Count.expected(), &mut |value| {
            parse::count(value).map(|count| node.prepares = Some(count))
        });
        if faults.is_empty() {
            Ok(node)
        } else {
            Err(SettingErrors { faults })
        }
    }

    /// Where unpacked applications are.
    pub fn apps(&self) -> PathBuf {
        self.state.join("apps")
    }

    /// The operator's defaults for applications, if the file exists.
    pub fn defaults(&self) -> PathBuf {
        self.state.join("defaults.toml")
    }

    /// Where compiled code is.
    pub fn cache(&self) -> PathBuf {
        self.state.join("cache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_folder_is_absolute() {
        let default = NodeSettings::read(|_| None).unwrap();
        assert_eq!(default.cache(), PathBuf::from("/var/lib/skiff/cache"));
        let error = NodeSettings::read(|_| Some("state".to_owned())).unwrap_err();
        let told: Vec<_> = error.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            told[0],
            "SKIFF_STATE_DIR is `state`, expected an absolute path"
        );
        // All mistakes are reported at once.
        assert_eq!(told.len(), 4);
    }

    #[test]
    fn the_node_bounds_what_it_keeps_and_does_at_once() {
        let var = |name: &str| match name {
            NodeSettings::APPS_SIZE => Some("1Gi".to_owned()),
            NodeSettings::CACHE_SIZE => Some(" 64Mi ".to_owned()),
            NodeSettings::PREPARES => Some("3".to_owned()),
            _ => None,
        };
        let node = NodeSettings::read(var).unwrap();
        assert_eq!(
            (node.apps_size, node.cache_size, node.prepares),
            (1 << 30, 64 << 20, NonZeroU32::new(3))
        );
    }
}
