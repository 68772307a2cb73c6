//! containerd's effective configuration: every file read, every default filled in. Each
//! change is checked with it before it is put in place: only our handler may differ from
//! the configuration before.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::config::{Family, Handler};
use crate::{HANDLER, RUNTIME};

/// Where containerd listens by default.
const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";

/// Why a configuration is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// containerd cannot be run.
    #[error("cannot run `{} config dump` on the node", program.display())]
    Run {
        /// The program on the node.
        program: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// containerd rejects it.
    #[error("containerd rejects the configuration: {message}")]
    Refused {
        /// Its message.
        message: String,
    },
    /// It does not print valid TOML.
    #[error("`{} config dump` does not print valid TOML", program.display())]
    Unreadable {
        /// The program on the node.
        program: PathBuf,
        /// The parser's error.
        source: Box<toml::de::Error>,
    },
    /// Our handler would not be seen.
    #[error("containerd does not see the handler in the new configuration")]
    NotSeen,
    /// Something else would also change.
    #[error("the new configuration would also change `{key}`")]
    SideEffect {
        /// The first key that differs.
        key: String,
    },
}

/// One configuration as containerd sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Dump(Table);

impl Dump {
    /// Reads what `containerd config dump` prints.
    ///
    /// # Errors
    ///
    /// If it is not valid TOML.
    pub fn parse(text: &str, program: &Path) -> Result<Self, DumpError> {
        toml::from_str(text)
            .map(Self)
            .map_err(|source| DumpError::Unreadable {
                program: program.to_owned(),
                source: Box::new(source),
            })
    }

    /// The schema of a new file: the newest that this containerd reads.
    pub fn family(&self) -> Family {
        let version = self.0.get("version").and_then(Value::as_integer);
        version
            .and_then(Family::of_version)
            .unwrap_or(Family::Three)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        // If the plugin is configured, the table is not read, but still printed.
        let paths: [&[&str]; 2] = [
            &["plugins", "io.containerd.server.v1.grpc", "address"],
            &["grpc", "address"],
        ];
        let address = paths
            .iter()
            .find_map(|path| self.at(path)?.as_str())
            .filter(|address| !address.is_empty());
        address.unwrap_or(DEFAULT_SOCKET).into()
    }

    /// The files that it prints as imported, whether they are read or not.
    pub fn imports(&self) -> impl Iterator<Item = &str> {
        let imports = self.0.get("imports").and_then(Value::as_array);
        imports.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether it knows a runtime of that name.
    pub fn has(&self, runtime: &str) -> bool {
        self.runtime(runtime).is_some()
    }

    /// The type of the handler of our name; `None` if there is none.
    pub fn handler(&self) -> Option<&str> {
        let handler = self.runtime(HANDLER)?;
        handler.get("runtime_type").and_then(Value::as_str)
    }

    /// What our handler takes over from the default runtime: the cgroup driver, and the
    /// limits that the distribution sets.
    pub fn as_default_runtime(&self) -> Handler {
        let name = self
            .cri(&["containerd", "default_runtime_name"])
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty() && *name != HANDLER)
            .unwrap_or("runc");
        let runtime = self.runtime(name);
        let base_spec = runtime
            .and_then(|runtime| runtime.get("base_runtime_spec")?.as_str())
            .filter(|path| !path.is_empty());
        let systemd_cgroup = runtime
            .and_then(|runtime| runtime.get("options")?.get("SystemdCgroup")?.as_bool())
            .unwrap_or_default();
        Handler {
            path: None,
            base_spec: base_spec.map(str::to_owned),
            systemd_cgroup,
            others: Table::new(),
        }
    }

    /// The default runtimes that this containerd would forget if only ours were
    /// configured, if none is configured so far.
    pub fn forgotten_runtimes(&self) -> Table {
        let runtimes = self.cri(&["containerd", "runtimes"]);
        let mut runtimes = match (self.family(), runtimes.and_then(Value::as_table)) {
            (Family::Two, Some(runtimes)) => runtimes.clone(),
            _ => Table::new(),
        };
        runtimes.remove(HANDLER);
        runtimes
    }

    /// Checks that our handler is in it.
    ///
    /// # Errors
    ///
    /// If it is not in it.
    pub fn check_handler(&self) -> Result<(), DumpError> {
        match self.handler() {
            Some(RUNTIME) => Ok(()),
            _ => Err(DumpError::NotSeen),
        }
    }

    /// Checks a changed configuration: it has our handler, and nothing else is different.
    ///
    /// # Errors
    ///
    /// If that is not so.
    pub fn check_change(&self, after: &Self) -> Result<(), DumpError> {
        after.check_handler()?;
        let (before, after) = (self.without_ours(), after.without_ours());
        match first_difference(&before, &after) {
            Some(key) => Err(DumpError::SideEffect { key }),
            None => Ok(()),
        }
    }

    /// Everything but our handler and the list of files.
    fn without_ours(&self) -> Table {
        let mut table = self.0.clone();
        table.remove("imports");
        for family in [Family::Two, Family::Three] {
            let runtimes = ["plugins", family.plugin(), "containerd", "runtimes"]
                .iter()
                .try_fold(&mut table, |table, key| table.get_mut(*key)?.as_table_mut());
            if let Some(runtimes) = runtimes {
                runtimes.remove(HANDLER);
            }
        }
        table
    }

    fn runtime(&self, name: &str) -> Option<&Value> {
        self.cri(&["containerd", "runtimes"])?.get(name)
    }

    /// A key of whichever plugin answers the kubelet.
    fn cri(&self, path: &[&str]) -> Option<&Value> {
        [Family::Three, Family::Two].iter().find_map(|family| {
            let plugin = ["plugins", family.plugin()];
            self.at(&[&plugin, path].concat())
        })
    }

    fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.0.get(*first)?, |value, key| value.get(key))
    }
}

/// The first key, in order of their names, whose value is not the same.
fn first_difference(one: &Table, other: &Table) -> Option<String> {
    let mut keys: Vec<_> = one.keys().chain(other.keys()).collect();
    keys.sort();
    keys.dedup();
    let empty = Value::Table(Table::new());
    for key in keys {
        // A missing table equals an empty one.
        let (one, other) = match (one.get(key), other.get(key)) {
            (None, Some(Value::Table(_))) => (Some(&empty), other.get(key)),
            (Some(Value::Table(_)), None) => (one.get(key), Some(&empty)),
            both => both,
        };
        match (one, other) {
            (Some(Value::Table(one)), Some(Value::Table(other))) => {
                if let Some(inner) = first_difference(one, other) {
                    return Some(format!("{key}.{inner}"));
                }
            }
            (one, other) if one != other => return Some(key.clone()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(text: &str) -> Dump {
        Dump::parse(text, Path::new("/usr/bin/containerd")).expect("TOML")
    }

    const BEFORE: &str = r#"
version = 3
imports = ["/etc/containerd/config.toml"]
[grpc]
address = "/run/a.sock"
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = "nvidia"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]
base_runtime_spec = "/etc/base.json"
options = { SystemdCgroup = true }
"#;

    const OURS: &str = r#"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.skiff]
runtime_type = "io.containerd.skiff.v1"
"#;

    #[test]
    fn the_default_runtime_is_the_model() {
        let dump = dump(BEFORE);
        assert_eq!(dump.socket(), Path::new("/run/a.sock"));
        assert_eq!(
            dump.as_default_runtime(),
            Handler {
                path: None,
                base_spec: Some("/etc/base.json".into()),
                systemd_cgroup: true,
                others: Table::new(),
            }
        );
    }

    #[test]
    fn a_table_that_is_printed_and_not_read_does_not_say_where_it_listens() {
        let text = format!(
            "{BEFORE}\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/run/b.sock'\n"
        );
        assert_eq!(dump(&text).socket(), Path::new("/run/b.sock"));
    }

    #[test]
    fn only_our_handler_may_differ() {
        let before = dump(BEFORE);
        let after = dump(&format!("{BEFORE}{OURS}"));
        before.check_change(&after).expect("only ours");
        let other = dump(&format!("{BEFORE}{OURS}").replace("/run/a.sock", "/run/b.sock"));
        let error = before.check_change(&other).expect_err("another socket");
        assert_eq!(
            error.to_string(),
            "the new configuration would also change `grpc.address`"
        );
        let error = before.check_change(&before).expect_err("no handler");
        assert!(matches!(error, DumpError::NotSeen));
    }
}
