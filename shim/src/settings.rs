//! Settings, read once from the environment at startup, through a function that tests
//! replace. No other code reads the environment, and none writes to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

mod names;
mod network;
mod node;
mod parse;
mod stores;
mod table;

pub use names::is_service_link;
pub use network::NetworkSettings;
pub use node::NodeSettings;
pub use parse::Kind;
pub use stores::StoreSettings;

/// Where a pod listens: on the same port as Spin's shim, so that the same Service works,
/// and on IPv4 and IPv6.
pub const LISTEN_IN_POD: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 80);

/// Where `skiff run` listens: the same address as `spin up`, not reachable from other
/// machines.
pub const LISTEN_ON_LAPTOP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);

/// The settings of a pod or of `skiff run`: one type per subsystem, which has the
/// defaults. The table of `docs/settings.md` lists the names and their meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where requests come in; with `None` the server decides.
    pub listen: Option<SocketAddr>,
    /// The components to run; `None` stands for all.
    pub retain: Option<BTreeSet<String>>,
    /// A folder with one file for each application variable.
    pub variables: Option<PathBuf>,
    /// The HTTP trigger, except for what the process decides: how it shuts down, and how
    /// many connections there are descriptors for.
    pub http: skiff_trigger_http::Settings,
    /// Resource limits of an application.
    pub engine: skiff_engine::Limits,
    /// Settings for guests.
    pub guests: skiff_host::Settings,
    /// Requests to other machines.
    pub network: NetworkSettings,
    /// The stores of an application.
    pub stores: StoreSettings,
    /// The process itself.
    pub process: crate::process::Settings,
}

impl Settings {
    /// Where a pod listens. `0.0.0.0` means every address of the pod, IPv4 and IPv6, as
    /// in Kubernetes' own programs: spin-operator writes it in every cluster.
    pub fn listen_in_pod(&self) -> SocketAddr {
        match self.listen {
            None => LISTEN_IN_POD,
            Some(every) if every.ip().is_unspecified() => {
                SocketAddr::new(LISTEN_IN_POD.ip(), every.port())
            }
            Some(address) => address,
        }
    }

    /// Reads every setting. `var` is the environment in production and a closure in
    /// tests; `names` are the names of all existing variables, so that a misspelt setting
    /// is noticed.
    ///
    /// # Errors
    /// All values that do not parse, not only the first.
    pub fn read(
        var: impl Fn(&str) -> Option<String>,
        names: impl Iterator<Item = String>,
    ) -> Result<(Self, Vec<Warning>), SettingErrors> {
        let mut settings = Settings::default();
        let mut faults = Vec::new();
        for row in table::TABLE {
            let given = row.names().find_map(|name| Some((name, var(name)?)));
            if let Some((name, value)) = given
                && (row.set)(&mut settings, value.trim()).is_none()
            {
                let expected = row.kind.expected();
                faults.push(SettingError {
                    name: name.to_owned(),
                    value,
                    expected,
                });
            }
        }
        if faults.is_empty() {
            Ok((settings, unknown(names)))
        } else {
            Err(SettingErrors { faults })
        }
    }

    /// The same from the environment of this process.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn from_environment() -> Result<(Self, Vec<Warning>), SettingErrors> {
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        Settings::read(environment, names)
    }
}

/// A variable of this process's environment. A value that is not Unicode becomes text
/// that no setting accepts, so that it is reported instead of being ignored.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The variables of this process's environment that are Unicode and neither configure
/// Skiff nor hold values of application variables.
pub fn program_environment() -> Vec<(String, String)> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    for_programs(variables)
}

/// The given variables without those that configure Skiff.
pub fn for_programs(
    variables: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let ours = |name: &str| name.starts_with("SKIFF_") || name.starts_with("SPIN_");
    let variables = variables.into_iter();
    variables.filter(|(name, _)| !ours(name)).collect()
}

/// A variable that looks like a setting but is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The variable.
    pub name: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is not a setting of Skiff and has no effect",
            self.name
        )
    }
}

/// A value that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is `{value}`, expected {expected}")]
pub struct SettingError {
    /// The variable.
    pub name: String,
    /// Its value.
    pub value: String,
    /// What it should look like.
    pub expected: &'static str,
}

/// Every value that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SettingErrors {
    /// At least one.
    pub faults: Vec<SettingError>,
}

/// Settings that are read elsewhere and not by pods: the folders for compiled code and
/// unpacked applications.
const OUTSIDE_A_POD: [&str; 5] = [
    "SKIFF_CACHE_DIR",
    NodeSettings::STATE,
    NodeSettings::APPS_SIZE,
    NodeSettings::CACHE_SIZE,
    NodeSettings::PREPARES,
];

fn unknown(variables: impl Iterator<Item = String>) -> Vec<Warning> {
    let known: BTreeSet<&str> = table::TABLE.iter().flat_map(|row| row.names()).collect();
    let mut warnings: Vec<_> = variables
        .filter(|name| name.starts_with(names::PREFIX))
        .filter(|name| !known.contains(name.as_str()) && !is_service_link(name))
        .filter(|name| !OUTSIDE_A_POD.contains(&name.as_str()))
        .map(|name| Warning { name })
        .collect();
    warnings.sort_by(|a, b| a.name.cmp(&b.name));
    warnings
}

/// Values of application variables from the environment: `SPIN_VARIABLE_<NAME>`,
/// or a plain variable of the same name in upper case, which wins.
pub fn variable_values<'a>(
    var: impl Fn(&str) -> Option<String>,
    variables: impl Iterator<Item = &'a str>,
) -> BTreeMap<String, String> {
    variables
        .filter_map(|name| {
            let upper = name.to_ascii_uppercase();
            let value = var(&upper).or_else(|| var(&format!("SPIN_VARIABLE_{upper}")))?;
            Some((name.to_owned(), value))
        })
        .collect()
}

/// The table of settings for `docs/settings.md`.
pub fn markdown_table() -> String {
    let defaults = Settings::default();
    let mut text = String::from("| variable | type | default | meaning |\n|---|---|---|---|\n");
    for row in table::TABLE {
        let names: Vec<_> = row.names().map(|name| format!("`{name}`")).collect();
        text += &format!(
            "| {} | {} | {} | {} |\n",
            names.join(", "),
            row.kind.name(),
            (row.show)(&defaults),
            row.meaning
        );
    }
    text
}

#[cfg(test)]
mod tests;
