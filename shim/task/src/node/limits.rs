//! New limits for a running container, as sent by an in-place resize of its pod.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use containerd_shim::protos::protobuf::well_known_types::any::Any;
use libcgroups::common::{AnyCgroupManager, CgroupManager, ControllerOpt};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::cgroup;
use crate::spec::{self, Refused};

mod files;

/// The type of the limits, as containerd names it.
const TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// Possible errors.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitsError {
    #[error("the new limits are of type `{0}`, expected `{TYPE}`")]
    Type(String),
    #[error("the new limits cannot be read: {0}")]
    Json(#[source] serde_json::Error),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("cannot find the container's control groups")]
    Groups(#[source] io::Error),
    #[error("the container uses {used} bytes of memory, more than the new limit of {limit}")]
    InUse { used: i64, limit: i64 },
    #[error("cannot write `{value}` to `{}`", path.display())]
    Write {
        path: PathBuf,
        value: String,
        source: io::Error,
    },
    #[error("systemd rejects the new limits: {0}")]
    Systemd(String),
}

/// New limits, all of which can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Limits {
    resources: LinuxResources,
    unified: bool,
    /// The control group's path in the specification, by which systemd knows it.
    pub(crate) group: PathBuf,
    pub(crate) id: String,
}

impl Limits {
    /// Reads the limits that containerd sends.
    ///
    /// # Errors
    /// If they cannot be read, or are not offered.
    pub(crate) fn read(sent: Option<&Any>, unified: bool) -> Result<Self, LimitsError> {
        let mut resources = LinuxResources::default();
        if let Some(sent) = sent {
            if sent.type_url != TYPE {
                return Err(LimitsError::Type(sent.type_url.clone()));
            }
            let raw = serde_json::from_slice(&sent.value).map_err(LimitsError::Json)?;
            resources = LinuxResources::deserialize(&raw).map_err(LimitsError::Json)?;
            spec::check_limits(&raw, &resources, unified)?;
        }
        // containerd also sends the devices set at creation, which cannot change.
        resources.set_devices(None);
        Ok(Self {
            resources,
            unified,
            group: PathBuf::new(),
            id: String::new(),
        })
    }
}

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    /// The controller whose file it is; only for version 1.
    controller: &'static str,
    file: String,
    value: String,
}

/// Sets limits of the container whose first process is `pid`. If one cannot be set, the
/// previous limits are restored.
///
/// # Errors
/// The first one that cannot be set.
pub(crate) fn set(pid: i32, systemd: bool, limits: &Limits) -> Result<(), LimitsError> {
    let folder = folders(pid, limits.unified)?;
    let current = |controller: &str, file: &str| {
        let path = folder(controller)?.join(file);
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    check_use(limits, &current)?;
    let settings = match limits.unified {
        true => files::of_version_2(&limits.resources, &current),
        false => files::of_version_1(&limits.resources),
    };
    if systemd && limits.unified && limits.group.is_relative() {
        // Otherwise systemd would restore its own values at its next reload.
        tell_systemd(limits)?;
    }
    let mut undo = Vec::new();
    let mut again = Vec::new();
    let place = |setting: &Setting| {
        let folder = folder(setting.controller).unwrap_or_else(|| cgroup::ROOT.into());
        folder.join(&setting.file)
    };
    let mut outcome = Ok(());
    for setting in &settings {
        let path = place(setting);
        match write(&path, &setting.value, &mut undo) {
            // A value may depend on another one being set first, as a memory limit on
            // that of memory and swap.
            Err(source) if source.raw_os_error() == Some(libc::EINVAL) => again.push(setting),
            Err(source) => {
                let value = setting.value.clone();
                outcome = Err(LimitsError::Write {
                    path,
                    value,
                    source,
                });
                break;
            }
            Ok(()) => {}
        }
    }
    for setting in again {
        let path = place(setting);
        if outcome.is_ok()
            && let Err(source) = write(&path, &setting.value, &mut undo)
        {
            let value = setting.value.clone();
            outcome = Err(LimitsError::Write {
                path,
                value,
                source,
            });
        }
    }
    if outcome.is_err() {
        for (path, before) in undo.into_iter().rev() {
            fs::write(path, before).ok();
        }
    }
    outcome
}

fn write(path: &Path, value: &str, undo: &mut Vec<(PathBuf, String)>) -> io::Result<()> {
    let before = fs::read_to_string(path).unwrap_or_default();
    // Do not create the file: if it is missing, so is its controller.
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    io::Write::write_all(&mut file, value.as_bytes())?;
    // Several lines concern several devices, and cannot be written back as one.
    if before.trim().lines().count() == 1 {
        undo.push((path.to_owned(), before));
    }
    Ok(())
}

/// The folder of each controller.
fn folders(pid: i32, unified: bool) -> Result<impl Fn(&str) -> Option<PathBuf>, LimitsError> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let (one, many) = match unified {
        true => {
            let group = cgroup::unified_of(pid).ok_or_else(missing);
            (Some(group.map_err(LimitsError::Groups)?), Vec::new())
        }
        false => (
            None,
            cgroup::hierarchies_of(pid).map_err(LimitsError::Groups)?,
        ),
    };
    Ok(move |controller: &str| {
        let of = |group: &&cgroup::Hierarchy| group.controllers.iter().any(|it| it == controller);
        let found = || Some(many.iter().find(of)?.path.clone());
        one.clone().or_else(found)
    })
}

/// A limit below the current use ends processes. If a check was requested, this is an
/// error instead.
fn check_use(
    limits: &Limits,
    current: &impl Fn(&str, &str) -> Option<String>,
) -> Result<(), LimitsError> {
    let memory = limits.resources.memory().as_ref();
    let memory = memory.filter(|it| it.check_before_update() == Some(true));
    let limit = memory.and_then(|it| it.limit()).filter(|limit| *limit > 0);
    let file = match limits.unified {
        true => "memory.current",
        false => "memory.usage_in_bytes",
    };
    let used = current("memory", file).and_then(|text| text.parse().ok());
    match (limit, used) {
        (Some(limit), Some(used)) if used > limit => Err(LimitsError::InUse { used, limit }),
        _ => Ok(()),
    }
}

fn tell_systemd(limits: &Limits) -> Result<(), LimitsError> {
    let manager: AnyCgroupManager =
        libcgroups::common::create_cgroup_manager(libcgroups::common::CgroupConfig {
            cgroup_path: limits.group.clone(),
            systemd_cgroup: true,
            container_name: limits.id.clone(),
        })
        .map_err(|error| LimitsError::Systemd(error.to_string()))?;
    let applied = manager.apply(&ControllerOpt {
        resources: &limits.resources,
        disable_oom_killer: false,
        oom_score_adj: None,
        freezer_state: None,
    });
    applied.map_err(|error| LimitsError::Systemd(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(kind: &str, value: &serde_json::Value) -> Any {
        Any {
            type_url: kind.to_owned(),
            value: serde_json::to_vec(value).unwrap(),
            ..Any::default()
        }
    }

    #[test]
    fn limits_are_read_as_containerd_sends_them() {
        let value = json!({
            "devices": [{ "allow": false, "access": "rwm" }],
            "memory": { "limit": 1048576 },
        });
        let limits = Limits::read(Some(&sent(TYPE, &value)), true).unwrap();
        let memory = limits.resources.memory().as_ref().unwrap();
        assert_eq!(memory.limit(), Some(1 << 20));
        assert!(limits.resources.devices().is_none());
        assert!(Limits::read(None, true).is_ok());
    }

    #[test]
    fn what_cannot_be_set_is_refused_by_name() {
        let refused = |kind, value, unified| {
            let error = Limits::read(Some(&sent(kind, &value)), unified).unwrap_err();
            error.to_string()
        };
        assert!(refused("other", json!({}), true).contains("`other`"));
        let unified = json!({ "unified": { "memory.high": "1" } });
        assert!(refused(TYPE, unified, false).contains("linux.resources.unified"));
        let unknown = json!({ "memory": { "colour": "red" } });
        assert!(refused(TYPE, unknown, true).contains("memory.colour"));
    }

    #[test]
    fn a_limit_below_what_is_used_is_an_error_where_that_is_asked_for() {
        let limits = |check: bool| {
            let value = json!({ "memory": { "limit": 100, "checkBeforeUpdate": check } });
            Limits::read(Some(&sent(TYPE, &value)), true).unwrap()
        };
        let used = |_: &str, file: &str| {
            assert_eq!(file, "memory.current");
            Some("200".to_owned())
        };
        assert!(check_use(&limits(true), &used).is_err());
        assert!(check_use(&limits(false), &used).is_ok());
    }
}
