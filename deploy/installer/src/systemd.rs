//! Restarting a unit of systemd over D-Bus, and waiting until it is done.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use zbus::connection::Builder;
use zbus::{Connection, OwnedObjectPath, Proxy};

use crate::host::Host;

/// Where the message bus listens, and, on systems without one, systemd itself.
const BUS: &str = "/run/dbus/system_bus_socket";
const PRIVATE: &str = "/run/systemd/private";

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// How long a unit may take to stop and start. containerd takes a second; a k3s
/// server that has to stop a whole control plane takes much longer.
const RESTARTED_WITHIN: Duration = Duration::from_secs(180);

/// How long connecting may take: the socket is there or it is not.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// How long between two looks at a unit.
const AGAIN: Duration = Duration::from_millis(100);

/// Why no unit was restarted.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// Neither socket is there, or nobody listens.
    #[error("systemd does not answer on `{BUS}` or `{PRIVATE}`")]
    Unreachable {
        /// What was said at the last.
        source: Option<Box<zbus::Error>>,
    },
    /// A call failed.
    #[error("systemd refuses `{call}`")]
    Refused {
        /// The call.
        call: &'static str,
        /// What it says.
        source: Box<zbus::Error>,
    },
    /// None of the units is there and active.
    #[error("none of these units is active: {}", units.join(", "))]
    NoUnit {
        /// Their names.
        units: Vec<String>,
    },
    /// The unit did not start.
    #[error(
        "{unit} did not start: it is {state}; `journalctl --unit {unit}` on the node tells why"
    )]
    NotStarted {
        /// Its name.
        unit: String,
        /// What systemd calls its state.
        state: String,
    },
    /// It takes too long.
    #[error("{unit} was not restarted within {} s", RESTARTED_WITHIN.as_secs())]
    TooLate {
        /// Its name.
        unit: String,
    },
}

/// Restarts the first of the units that is active, and waits for it.
///
/// # Errors
///
/// Where systemd cannot be reached, none is active, or it does not start.
pub async fn restart_first(host: &Host, units: &[&str]) -> Result<(), SystemdError> {
    let bus = connect(host).await?;
    for unit in units {
        if let Some(before) = Unit::find(&bus, unit).await?
            && ["active", "activating", "reloading"].contains(&before.state().await?.as_str())
        {
            return before.restart().await;
        }
    }
    Err(SystemdError::NoUnit {
        units: units.iter().map(|unit| (*unit).to_owned()).collect(),
    })
}

async fn connect(host: &Host) -> Result<Connection, SystemdError> {
    let mut last = None;
    for (socket, alone) in [(BUS, false), (PRIVATE, true)] {
        let Ok(path) = host.locate(Path::new(socket)) else {
            continue;
        };
        let Ok(stream) = UnixStream::connect(path) else {
            continue;
        };
        let builder = Builder::unix_stream(stream);
        let builder = if alone { builder.p2p() } else { builder };
        match timeout(CONNECTED_WITHIN, builder.build()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => last = Some(Box::new(error)),
            Err(_) => {}
        }
    }
    Err(SystemdError::Unreachable { source: last })
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

    async fn restart(&self) -> Result<(), SystemdError> {
        let manager = manager(self.bus).await?;
        let job: OwnedObjectPath = manager
            .call("RestartUnit", &(self.name.as_str(), "replace"))
            .await
            .map_err(refused("RestartUnit"))?;
        let end = Instant::now() + RESTARTED_WITHIN;
        // A job's object is gone when the job is done. Asking for it works the same
        // with and without a bus, and no signal can be missed.
        while self.exists(&job).await? {
            if Instant::now() > end {
                return Err(SystemdError::TooLate {
                    unit: self.name.clone(),
                });
            }
            sleep(AGAIN).await;
        }
        match self.state().await?.as_str() {
            "active" | "activating" | "reloading" => Ok(()),
            state => Err(SystemdError::NotStarted {
                unit: self.name.clone(),
                state: state.to_owned(),
            }),
        }
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
            // What is cached is told by signals, and systemd sends none unasked.
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
