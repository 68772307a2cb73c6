//! The container's specification, completed for libcontainer.
//!
//! libcontainer often treats a missing field as "leave it unchanged", where runc applies
//! the most restrictive value; it ignores some fields. So the specification is read once,
//! unsupported fields are refused by name, and missing ones are filled in before
//! libcontainer reads it.

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

/// The specification's file in the bundle.
const FILE: &str = "config.json";

/// Errors of a specification.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("cannot read the container's specification `{}`", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the container's specification `{}` is invalid", path.display())]
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

/// A specification as containerd has written it: unchecked, except for the location of
/// the root file system.
#[derive(Debug)]
pub(crate) struct Written {
    spec: Spec,
    /// With the fields that `spec` cannot hold.
    raw: serde_json::Value,
}

/// A supported specification, and the parts that are not passed to libcontainer.
#[derive(Debug)]
pub(crate) struct Completed {
    /// The part for libcontainer.
    pub(crate) spec: Spec,
    /// How mounts are to propagate, which libcontainer ignores.
    pub(crate) propagation: Vec<Propagation>,
    /// The control groups to mount if libcontainer cannot.
    pub(crate) cgroups: Option<Cgroups>,
}

/// Reads the specification of a bundle. Nothing else in the shim reads it while the
/// container is created.
///
/// # Errors
/// If there is none.
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
    /// The root file system on the node.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.spec.root().as_ref().map(|root| root.path().as_path())
    }

    /// Checks everything in the specification, and completes it.
    ///
    /// # Errors
    /// If something in it is not offered.
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

/// Writes the specification to where libcontainer reads it.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn save(spec: &Spec, bundle: &Path) -> Result<(), SpecError> {
    let path = bundle.join(FILE);
    spec.save(&path)
        .map_err(|source| SpecError::Write { path, source })
}

/// The specification's rules on which devices may be used.
pub(crate) fn devices(spec: &Spec) -> Vec<LinuxDeviceCgroup> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let devices = resources.and_then(|resources| resources.devices().clone());
    devices.unwrap_or_default()
}

/// Checks whether a container's new limits can be set.
///
/// # Errors
/// The first one that cannot, by name.
pub(crate) fn check_limits(
    raw: &serde_json::Value,
    resources: &LinuxResources,
    unified: bool,
) -> Result<(), Refused> {
    refuse::unknown_limits(raw, resources)?;
    refuse::check_resources(resources, unified)
}

/// The control group's path in the specification.
pub(crate) fn group(spec: &Spec) -> PathBuf {
    let linux = spec.linux().as_ref();
    linux
        .and_then(|linux| linux.cgroups_path().clone())
        .unwrap_or_default()
}
