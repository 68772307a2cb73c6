//! Restarting a systemd unit and waiting until it is done: over D-Bus, or, on nodes
//! without a message bus, with the node's own `systemctl`, whose private protocol is not
//! quite D-Bus.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use zbus::connection::Builder;
use zbus::{Connection, OwnedObjectPath, Proxy};

use crate::host::Host;

/// Where the message bus listens.
const BUS: &str = "/run/dbus/system_bus_socket";

/// The states of a unit that runs, or is about to.
const UP: [&str; 3] = ["active", "activating", "reloading"];

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// How long connecting may take: it works at once or not at all.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// The pause between two looks at a unit.
const AGAIN: Duration = Duration::from_millis(100);

/// Why no unit was restarted.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// There is no bus, and `systemctl` does not work either.
    #[error("systemd answers neither on `{BUS}` nor to `systemctl`: {said}")]
    Unreachable {
        /// `systemctl`'s message.
        said: String,
    },
    /// A call failed.
    #[error("systemd refuses `{call}`")]
    Refused {
        /// The call.
        call: &'static str,
        /// Its error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// None of the units is active.
    #[error("none of these units is active: {}", units.join(", "))]
    NoUnit {
        /// Their names.
        units: Vec<String>,
    },
    /// The unit did not start.
    #[error(
        "{unit} did not start: it is {state}; `journalctl --unit {unit}` on the node shows why"
    )]
    NotStarted {
        /// Its name.
        unit: String,
        /// Its state as systemd names it.
        state: String,
    },
    /// It takes too long.
    #[error("{unit} was not restarted within {} s", within.as_secs())]
    TooLate {
        /// Its name.
        unit: String,
        /// The limit.
        within: Duration,
    },
}

/// Restarts the first active unit, and waits for it at most this long.
///
/// # Errors
///
/// If systemd cannot be reached or refuses, none is active, or the unit does
/// not start in time.
pub async fn restart_first(
    host: &Host,
    units: &[&str],
    within: Duration,
) -> Result<(), SystemdError> {
    let Some(bus) = connect(host).await else {
        return restart_without_bus(host, units, within).await;
    };
    for unit in units {
        if let Some(before) = Unit::find(&bus, unit).await?
            && is_up(&before.state().await?)
        {
            return before.restart(within).await;
        }
    }
    Err(none_of(units))
}

/// A connection to the node's bus, if it has one.
async fn connect(host: &Host) -> Option<Connection> {
    let path = host.locate(Path::new(BUS)).ok()?;
    let stream = UnixStream::connect(path).ok()?;
    let built = timeout(CONNECTED_WITHIN, Builder::unix_stream(stream).build()).await;
    match built {
        Ok(Ok(connection)) => return Some(connection),
        Ok(Err(error)) => tracing::warn!(%error, "The message bus does not answer"),
        Err(error) => tracing::warn!(%error, "The message bus does not answer in time"),
    }
    None
}

async fn restart_without_bus(
    host: &Host,
    units: &[&str],
    within: Duration,
) -> Result<(), SystemdError> {
    let property = |unit: &str, name: &str| {
        let property = format!("--property={name}");
        systemctl(host, &["show", "--value", &property, unit])
            .map_err(|said| SystemdError::Unreachable { said })
    };
    for unit in units {
        if !is_up(&property(unit, "ActiveState")?) {
            continue;
        }
        // It has just reported the unit's state, so it does answer.
        systemctl(host, &["restart", "--no-block", unit]).map_err(|said| {
            SystemdError::Refused {
                call: "systemctl restart",
                source: said.into(),
            }
        })?;
        let limit = Limit::starts(within);
        // The number of the unit's job, while it has one.
        while !["", "0"].contains(&property(unit, "Job")?.as_str()) {
            limit.again(unit).await?;
        }
        return started(unit, &property(unit, "ActiveState")?);
    }
    Err(none_of(units))
}

/// How long to wait for a unit.
struct Limit {
    within: Duration,
    end: Instant,
}

impl Limit {
    fn starts(within: Duration) -> Self {
        let end = Instant::now() + within;
        Self { within, end }
    }

    /// Waits a little, unless it is too late.
    async fn again(&self, unit: &str) -> Result<(), SystemdError> {
        if Instant::now() > self.end {
            return Err(SystemdError::TooLate {
                unit: unit.to_owned(),
                within: self.within,
            });
        }
        sleep(AGAIN).await;
        Ok(())
    }
}

/// Runs the node's `systemctl` and returns its output, or its error message.
fn systemctl(host: &Host, args: &[&str]) -> Result<String, String> {
    let output = host
        .command("systemctl")
        .args(args)
        // Otherwise it sees that its root is not the first process's, and takes it for an
        // image under construction.
        .env("SYSTEMD_IGNORE_CHROOT", "1")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.trim().replace('\n', "; "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn is_up(state: &str) -> bool {
    UP.contains(&state)
}

/// Whether a unit that was restarted runs, or may soon.
fn started(unit: &str, state: &str) -> Result<(), SystemdError> {
    if is_up(state) {
        return Ok(());
    }
    Err(SystemdError::NotStarted {
        unit: unit.to_owned(),
        state: state.to_owned(),
    })
}

fn none_of(units: &[&str]) -> SystemdError {
    SystemdError::NoUnit {
        units: units.iter().map(|unit| (*unit).to_owned()).collect(),
    }
}

struct Unit<'a> {
    bus: &'a Connection,
    name: String,
    path: OwnedObjectPath,
}

impl<'a> Unit<'a> {
    async fn find(bus: &'a Connection, name: &str) -> Result<Option<Self>, SystemdError> {
        let manager = manager(bus).await?;
        // A unit that is not loaded is not active either.
        let found: Result<OwnedObjectPath, _> = manager.call("GetUnit", &(name,)).await;
        match found {
            Ok(path) => Ok(Some(Self {
                bus,
                name: name.to_owned(),
                path,
            })),
            Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_SUCH_UNIT => Ok(None),
            Err(error) => Err(refused("GetUnit")(error)),
        }
    }

    async fn restart(&self, within: Duration) -> Result<(), SystemdError> {
        let manager = manager(self.bus).await?;
        let job: OwnedObjectPath = manager
            .call("RestartUnit", &(self.name.as_str(), "replace"))
            .await
            .map_err(refused("RestartUnit"))?;
        let limit = Limit::starts(within);
        // A job's object is gone when the job is done, and no signal can be missed.
        while self.exists(&job).await? {
            limit.again(&self.name).await?;
        }
        started(&self.name, &self.state().await?)
    }

    async fn exists(&self, job: &OwnedObjectPath) -> Result<bool, SystemdError> {
        let proxy = self.object(job, "org.freedesktop.systemd1.Job").await?;
        Ok(property(&proxy, "State").await.is_ok())
    }

    async fn state(&self) -> Result<String, SystemdError> {
        let unit = self
            .object(&self.path, "org.freedesktop.systemd1.Unit")
            .await?;
        property(&unit, "ActiveState").await
    }

    async fn object(
        &self,
        path: &OwnedObjectPath,
        interface: &'static str,
    ) -> Result<Proxy<'a>, SystemdError> {
        zbus::proxy::Builder::<Proxy<'_>>::new(self.bus)
            .destination(SYSTEMD)
            .path(path.clone())
            .interface(interface)
            // The cache relies on signals, and systemd sends none without a subscription.
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .map_err(refused("Get"))
    }
}

async fn manager(bus: &Connection) -> Result<Proxy<'_>, SystemdError> {
    Proxy::new(bus, SYSTEMD, MANAGER, "org.freedesktop.systemd1.Manager")
        .await
        .map_err(refused("Manager"))
}

async fn property(proxy: &Proxy<'_>, name: &'static str) -> Result<String, SystemdError> {
    proxy.get_property(name).await.map_err(refused(name))
}

fn refused(call: &'static str) -> impl Fn(zbus::Error) -> SystemdError {
    move |source| SystemdError::Refused {
        call,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_without_systemd_is_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let host = Host::new(folder.path());
        let restarted = restart_first(&host, &["containerd.service"], Duration::ZERO).await;
        let error = restarted.expect_err("nothing listens");
        assert!(matches!(error, SystemdError::Unreachable { .. }), "{error}");
    }
}
