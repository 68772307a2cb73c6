//! From one version to the next, with a check before and after.
//!
//! A new version is tried from its own folder while new pods still run on the old
//! one. Only when a hello has run on it do the links lead there, and they lead
//! back if it does not run that way either. The first version is tried likewise
//! before containerd is told of it, and is off the node again where it fails.

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

/// What became of a node.
#[derive(Debug)]
pub enum Outcome {
    /// The version that the image brought is in use, and works.
    Ready,
    /// The version before is in use, as the new one does not work here.
    Kept {
        /// The version in use.
        version: String,
        /// Why not the new one.
        reason: Reason,
    },
    /// Nothing that works is in use.
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
    /// It ran where it was tried and not in its place, and no version was in use
    /// before.
    #[error("no application runs on version {version} in its place, and it is uninstalled again")]
    TakenBack {
        /// The version.
        version: String,
        /// Why.
        source: CheckError,
    },
}

impl Reason {
    /// Whether it may go away without anybody's doing.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Install { source, .. } => source.may_pass(),
            Self::Check { .. } => true,
            Self::FailedBefore { .. } | Self::TakenBack { .. } => false,
        }
    }
}

impl Outcome {
    /// The version that the node's label tells, and whether new pods may come; `None`
    /// where nothing of Skiff is on the node and nothing is going to be.
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

/// Installs a version and checks it; `pause` is waited between attempts.
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

/// Puts the first version on a node. containerd is told of it only when a hello has
/// run on it. Where it does not work, the node's files are as before.
fn first<N: Node>(
    installer: &Installer<'_, N>,
    payload: &Payload,
    hello: &RunHello<'_>,
    pause: Duration,
) -> Outcome {
    let version = payload.version();
    // What is refused is refused before anything is on the node.
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

/// Takes a first version away that containerd was not told of.
fn take_away<N: Node>(installer: &Installer<'_, N>) {
    if let Err(error) = installer.uninstall(false) {
        warn(&error, "Cannot take the version away");
    }
}

/// Checks a version in its place, be it new there or not. One that has worked there
/// stays, as pods run on it; else the one before is in use again, or none.
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

/// Puts a version in the place of another one, which stays in use where the new one
/// does not work.
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

/// Tries a version that no pod runs on yet, and takes it away where it fails.
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
