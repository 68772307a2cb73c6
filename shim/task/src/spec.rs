//! The container's specification, as libcontainer is to get it.
//!
//! libcontainer takes many a field that is not there for "leave it as it is", where
//! runc takes the least there is; some fields it does not look at. So the specification
//! is read once, what nobody would honour is refused by name, and what is left out is
//! written out before libcontainer reads it.

use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources, Spec};
use serde::Deserialize;

mod complete;
mod mounts;
mod refuse;
mod sysctls;
pub(crate) mod volumes;

pub(crate) use mounts::{Cgroups, Propagation};
pub(crate) use refuse::Refused;

/// The file of the specification, in the bundle.
const FILE: &str = "config.json";

/// What can be wrong with a specification.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("cannot read the container's specification `{}`", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the container's specification `{}` is not one", path.display())]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot find the container's root file system")]
    Root(#[source] OciSpecError),
    #[error("cannot write the container's specification `{}`", path.display())]
    Write { path: PathBuf, source: OciSpecError },
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// A specification as containerd has written it: nothing of it was looked at, but where
/// the root file system is.
#[derive(Debug)]
pub(crate) struct Written {
    spec: Spec,
    /// With the fields that `spec` has no place for.
    raw: serde_json::Value,
}

/// A specification that can be honoured, and what of it libcontainer is not told.
#[derive(Debug)]
pub(crate) struct Completed {
    /// As libcontainer is to get it.
    pub(crate) spec: Spec,
    /// How mounts are to propagate, which libcontainer leaves as it is.
    pub(crate) propagation: Vec<Propagation>,
    /// The control groups that are to be mounted, where libcontainer cannot.
    pub(crate) cgroups: Option<Cgroups>,
}

/// Reads the specification of a bundle. Nothing else of the shim reads it while the
/// container is made.
///
/// # Errors
/// Where there is none.
pub(crate) fn read(bundle: &Path) -> Result<Written, SpecError> {
    let path = bundle.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(source) => return Err(SpecError::Read { path, source }),
    };
    let parsed = serde_json::from_slice(&text)
        .and_then(|raw: serde_json::Value| Ok((Spec::deserialize(&raw)?, raw)));
    let (mut spec, raw) = parsed.map_err(|source| SpecError::Parse { path, source })?;
    spec.canonicalize_rootfs(bundle).map_err(SpecError::Root)?;
    Ok(Written { spec, raw })
}

impl Written {
    /// Where the root file system is, on the node.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.spec.root().as_ref().map(|root| root.path().as_path())
    }

    /// Looks at everything that is asked for, and completes it.
    ///
    /// # Errors
    /// Where something is asked for that is not offered.
    pub(crate) fn complete(self, unified: bool) -> Result<Completed, SpecError> {
        let Written { mut spec, raw } = self;
        refuse::unknown(&raw, &spec)?;
        refuse::check(&spec, unified)?;
        sysctls::check(&spec)?;
        complete::complete(&mut spec);
        let propagation = mounts::propagations(&spec);
        let cgroups = mounts::take_cgroups(&mut spec, unified);
        Ok(Completed {
            spec,
            propagation,
            cgroups,
        })
    }
}

/// Writes the specification where libcontainer reads it.
///
/// # Errors
/// Where that cannot be written.
pub(crate) fn save(spec: &Spec, bundle: &Path) -> Result<(), SpecError> {
    let path = bundle.join(FILE);
    spec.save(&path)
        .map_err(|source| SpecError::Write { path, source })
}

/// The rules of a specification on which devices may be used.
pub(crate) fn devices(spec: &Spec) -> Vec<LinuxDeviceCgroup> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let devices = resources.and_then(|resources| resources.devices().clone());
    devices.unwrap_or_default()
}

/// Whether new limits of a container can be set.
///
/// # Errors
/// The first that cannot, by name.
pub(crate) fn check_limits(
    raw: &serde_json::Value,
    resources: &LinuxResources,
    unified: bool,
) -> Result<(), Refused> {
    refuse::unknown_limits(raw, resources)?;
    refuse::check_resources(resources, unified)
}

/// Where the specification wants the control group to be.
pub(crate) fn group(spec: &Spec) -> PathBuf {
    let linux = spec.linux().as_ref();
    linux
        .and_then(|linux| linux.cgroups_path().clone())
        .unwrap_or_default()
}
