//! From one version to the next, with a check before and after.
//!
//! A new version is tried from its own folder while new pods still run on the old one.
//! The links point to it only after a hello has run on it, and point back if a hello then
//! fails through them. The first version is tried likewise before containerd is
//! configured, and is removed if it fails.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::check::CheckError;
use crate::install::{InstallError, Installer};
use crate::node::Node;
use crate::payload::Payload;
use crate::state::State;

/// How often a check is tried before it counts. A node that is just starting all
/// its pods may fail one.
const ATTEMPTS: u32 = 3;

/// The outcome on a node.
#[derive(Debug)]
pub enum Outcome {
    /// The image's version is in use, and works.
    Ready,
    /// The previous version is in use, as the new one does not work here.
    Kept {
        /// The version in use.
        version: String,
        /// Why not the new one.
        reason: Reason,
    },
    /// No working version is in use.
    Failed(Reason),
}

/// Why a version is not in use.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It could not be installed.
    #[error("version {version} is not installed")]
    Install {
        /// The version.
        version: String,
        /// Why.
        source: InstallError,
    },
    /// No application runs on it.
    #[error("no application runs on version {version} on this node")]
    Check {
        /// The version.
        version: String,
        /// Why.
        source: CheckError,
    },
    /// It has failed here before.
    #[error("version {version} failed its check on this node before")]
    FailedBefore {
        /// The version.
        version: String,
    },
    /// It ran in its own folder but not through the links, and no version was in use
    /// before.
    #[error(
        "no application runs on version {version} after its installation, so it is uninstalled again"
    )]
    TakenBack {
        /// The version.
        version: String,
        /// Why.
        source: CheckError,
    },
}

impl Reason {
    /// Whether it may be transient.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Install { source, .. } => source.may_pass(),
            Self::Check { .. } => true,
            Self::FailedBefore { .. } | Self::TakenBack { .. } => false,
        }
    }
}

impl Outcome {
    /// The version for the node's label, and whether new pods may come; `None` if nothing
    /// of Skiff is or will be on the node.
    pub fn labels<'a>(&'a self, tried: &'a str, is_clear: bool) -> Option<(&'a str, bool)> {
        match self {
            Self::Ready => Some((tried, true)),
            Self::Kept { version, .. } => Some((version, true)),
            Self::Failed(reason) if is_clear && !reason.may_pass() => None,
            Self::Failed(_) => Some((tried, false)),
        }
    }
}

/// Runs a hello: with the shim at this path, or as containerd finds it.
pub type RunHello<'a> = dyn Fn(Option<&Path>) -> Result<(), CheckError> + 'a;

/// Installs a version and checks it, with a `pause` between attempts.
pub fn bring_up<N: Node>(
    installer: &Installer<'_, N>,
    payload: &Payload,
    hello: &RunHello<'_>,
    pause: Duration,
) -> Outcome {
    let version = payload.version();
    let state = match installer.state() {
        Ok(state) => state.unwrap_or_default(),
        Err(source) => return Outcome::Failed(not_installed(version, source)),
    };
    if state.version.is_empty() {
        first(installer, payload, hello, pause)
    } else if state.version == version {
        in_its_place(installer, payload, hello, pause, &state)
    } else {
        upgrade(installer, payload, hello, pause, state)
    }
}

/// Installs the first version on a node. containerd is configured only after a hello has
/// run on it. If it does not work, the node's files are as before.
fn first<N: Node>(
    installer: &Installer<'_, N>,
    payload: &Payload,
    hello: &RunHello<'_>,
    pause: Duration,
) -> Outcome {
    let version = payload.version();
    // A refusal comes before anything is put on the node.
    let planned = installer.install(payload, true);
    let shim = match planned.and_then(|_| installer.place(payload)) {
        Ok(shim) => shim,
        Err(source) => return Outcome::Failed(not_installed(version, source)),
    };
    match check(version, hello, Some(&shim), pause) {
        Ok(()) => in_its_place(installer, payload, hello, pause, &State::default()),
        Err(reason) => {
            take_away(installer);
            Outcome::Failed(reason)
        }
    }
}

/// Removes a first version for which containerd was not configured.
fn take_away<N: Node>(installer: &Installer<'_, N>) {
    if let Err(error) = installer.uninstall(false) {
        warn(&error, "Cannot take the version away");
    }
}

/// Checks a version through the links, whether it is new or not. One that has worked
/// before stays, as pods run on it; otherwise the previous one is used again, or none.
fn in_its_place<N: Node>(
    installer: &Installer<'_, N>,
    payload: &Payload,
    hello: &RunHello<'_>,
    pause: Duration,
    before: &State,
) -> Outcome {
    let version = payload.version();
    let source = match install_and_check(installer, payload, hello, pause) {
        Ok(()) => return Outcome::Ready,
        Err(Reason::Check { source, .. }) if !before.checked => source,
        Err(reason) => {
            if before.version.is_empty() {
                take_away(installer);
            }
            return Outcome::Failed(reason);
        }
    };
    let version = version.to_owned();
    match installer.rollback(false) {
        Ok(_) => Outcome::Kept {
            version: before.previous.clone().unwrap_or_default(),
            reason: Reason::Check { version, source },
        },
        Err(InstallError::NoPrevious { .. }) => match installer.uninstall(false) {
            Ok(_) => Outcome::Failed(Reason::TakenBack { version, source }),
            Err(source) => Outcome::Failed(not_installed(&version, source)),
        },
        Err(source) => Outcome::Failed(not_installed(&version, source)),
    }
}

/// Replaces the version in use with another, unless that does not work.
fn upgrade<N: Node>(
    installer: &Installer<'_, N>,
    payload: &Payload,
    hello: &RunHello<'_>,
    pause: Duration,
    state: State,
) -> Outcome {
    let version = payload.version();
    let before = state.version;
    let kept = |reason| Outcome::Kept {
        version: before.clone(),
        reason,
    };
    if state.failed.as_deref() == Some(version) {
        return kept(Reason::FailedBefore {
            version: version.to_owned(),
        });
    }
    if let Err(reason) = try_aside(installer, payload, hello, pause) {
        return kept(reason);
    }
    match install_and_check(installer, payload, hello, pause) {
        Ok(()) => Outcome::Ready,
        Err(reason @ Reason::Install { .. }) => kept(reason),
        Err(reason) => match installer.rollback(false) {
            Ok(_) => kept(reason),
            Err(source) => Outcome::Failed(not_installed(&before, source)),
        },
    }
}

/// Tries a version that no pod runs on yet, and removes it if it fails.
fn try_aside<N: Node>(
    installer: &Installer<'_, N>,
    payload: &Payload,
    hello: &RunHello<'_>,
    pause: Duration,
) -> Result<(), Reason> {
    let version = payload.version();
    let shim = installer
        .place(payload)
        .map_err(|source| not_installed(version, source))?;
    let checked = check(version, hello, Some(&shim), pause);
    if checked.is_err()
        && let Err(error) = installer.discard(version)
    {
        warn(&error, "Cannot take the version away");
    }
    checked
}

fn install_and_check<N: Node>(
    installer: &Installer<'_, N>,
    payload: &Payload,
    hello: &RunHello<'_>,
    pause: Duration,
) -> Result<(), Reason> {
    let version = payload.version();
    let failed = |source| not_installed(version, source);
    let report = installer.install(payload, false).map_err(failed)?;
    for line in report.to_string().lines() {
        tracing::info!(step = line, "Done");
    }
    let (_, handler) = installer.running().map_err(failed)?;
    let shim: Option<PathBuf> = handler.path;
    check(version, hello, shim.as_deref(), pause)?;
    if let Err(error) = installer.confirm() {
        warn(&error, "Cannot write down that the version works");
    }
    Ok(())
}

fn warn(error: &InstallError, what: &str) {
    tracing::warn!(error = error as &dyn std::error::Error, "{what}");
}

fn check(
    version: &str,
    hello: &RunHello<'_>,
    shim: Option<&Path>,
    pause: Duration,
) -> Result<(), Reason> {
    let mut attempt = 1;
    loop {
        match hello(shim) {
            Ok(()) => return Ok(()),
            Err(source) if attempt == ATTEMPTS => {
                return Err(Reason::Check {
                    version: version.to_owned(),
                    source,
                });
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, attempt, "The check failed and is tried again");
            }
        }
        attempt += 1;
        sleep(pause);
    }
}

fn not_installed(version: &str, source: InstallError) -> Reason {
    Reason::Install {
        version: version.to_owned(),
        source,
    }
}
