//! What a specification may ask for that is not supported. It is refused by name: giving
//! a container less than was asked for is wrong, and giving it more is worse.

use std::collections::HashSet;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Mount, Process, Spec};
use serde_json::Value;

/// A request that cannot be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "the container's specification has the field `{field}`, which this runtime does not know"
    )]
    Unknown { field: String },
    #[error("user namespaces are not offered by this runtime (`{field}`)")]
    UserNamespace { field: &'static str },
    #[error("`{field}` is not offered by this runtime")]
    Field { field: &'static str },
    #[error("`{field}` is not offered by this runtime {condition}")]
    FieldHere {
        field: &'static str,
        condition: &'static str,
    },
    #[error("a container without a mount namespace of its own is not offered by this runtime")]
    NoMountNamespace,
    #[error("the container's specification names the {0} namespace twice")]
    Twice(LinuxNamespaceType),
    #[error("`{field}` cannot be set without a UTS namespace of the container's own")]
    SharedUts { field: &'static str },
    #[error("the SELinux label `{0}` cannot be set, as SELinux is not enabled on this node")]
    NoSelinux(String),
    #[error("the root's propagation `{0}` is not known")]
    RootPropagation(String),
    #[error(
        "the mount at `{destination}` has the option `{option}`, which is not offered by this runtime"
    )]
    MountOption { destination: String, option: String },
    #[error("the kernel parameter `{name}` cannot be set: it {why}")]
    Sysctl { name: String, why: &'static str },
}

/// Where the kernel shows SELinux if it is enabled.
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// Parts of a specification in which every field has to be known.
const LOOKED_INTO: [&str; 4] = ["process", "linux", "mounts", "root"];

/// Options of every kind of mount. All others belong to the file system.
const OPTIONS: [&str; 47] = [
    "defaults",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "async",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "bind",
    "rbind",
    "unbindable",
    "runbindable",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "rro",
    "rrw",
    "rnosuid",
    "rsuid",
    "rnodev",
    "rdev",
    "rnoexec",
    "rexec",
    "rnodiratime",
    "rdiratime",
    "rrelatime",
    "rnorelatime",
    "rnoatime",
    "ratime",
    "rstrictatime",
    "rnostrictatime",
    "rnosymfollow",
    "rsymfollow",
];

/// Options of every kind of mount that are not supported.
const NOT_HEEDED: [&str; 12] = [
    "sync",
    "dirsync",
    "remount",
    "mand",
    "idmap",
    "ridmap",
    "tmpcopyup",
    "nosymfollow",
    "symfollow",
    "lazytime",
    "iversion",
    "acl",
];

/// Checks that libcontainer can read every field with a value.
///
/// # Errors
/// The first field that it cannot.
pub(super) fn unknown(raw: &Value, spec: &Spec) -> Result<(), Refused> {
    let known = serde_json::to_value(spec).unwrap_or_default();
    for part in LOOKED_INTO {
        if let Some(field) = lost(&raw[part], &known[part], part) {
            return Err(Refused::Unknown { field });
        }
    }
    Ok(())
}

/// The same for limits alone.
///
/// # Errors
/// The first unknown field.
pub(super) fn unknown_limits(raw: &Value, limits: &LinuxResources) -> Result<(), Refused> {
    let known = serde_json::to_value(limits).unwrap_or_default();
    match lost(raw, &known, "linux.resources") {
        Some(field) => Err(Refused::Unknown { field }),
        None => Ok(()),
    }
}

/// The path of the first value in `raw` that is missing in `known`.
fn lost(raw: &Value, known: &Value, path: &str) -> Option<String> {
    match raw {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            lost(
                value,
                known.get(name).unwrap_or(&Value::Null),
                &format!("{path}.{name}"),
            )
        }),
        Value::Array(values) => values.iter().enumerate().find_map(|(index, value)| {
            // A set has no order, so only objects are compared by index.
            let other = known.get(index).unwrap_or(&Value::Null);
            value
                .is_object()
                .then(|| lost(value, other, &format!("{path}[{index}]")))?
        }),
        said => (says_something(said) && known.is_null()).then(|| path.to_owned()),
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        _ => true,
    }
}

/// Checks that everything in the specification is supported. `unified` says whether the
/// node only has control groups of version 2.
///
/// # Errors
/// The first field that is not.
pub(super) fn check(spec: &Spec, unified: bool) -> Result<(), Refused> {
    if let Some(process) = spec.process() {
        check_process(process, Path::new(SELINUX))?;
    }
    check_namespaces(spec)?;
    if let Some(linux) = spec.linux() {
        check_linux(linux, Path::new(SELINUX))?;
        if let Some(resources) = linux.resources() {
            check_resources(resources, unified)?;
        }
    }
    spec.mounts().iter().flatten().try_for_each(check_mount)
}

fn check_process(process: &Process, selinux: &Path) -> Result<(), Refused> {
    check_label(process.selinux_label().as_deref(), selinux)?;
    let username = process.user().username().as_deref();
    if username.is_some_and(|name| !name.is_empty()) {
        return Err(Refused::Field {
            field: "process.user.username",
        });
    }
    if process.command_line().is_some() {
        return Err(Refused::Field {
            field: "process.commandLine",
        });
    }
    Ok(())
}

/// Without SELinux the label has no effect.
fn check_label(label: Option<&str>, selinux: &Path) -> Result<(), Refused> {
    match label {
        Some(label) if !label.is_empty() && !selinux.exists() => {
            Err(Refused::NoSelinux(label.to_owned()))
        }
        _ => Ok(()),
    }
}

fn check_namespaces(spec: &Spec) -> Result<(), Refused> {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_deref());
    let namespaces = namespaces.unwrap_or_default();
    let mut kinds = HashSet::new();
    for namespace in namespaces {
        let kind = namespace.typ();
        if !kinds.insert(kind) {
            return Err(Refused::Twice(kind));
        }
        match kind {
            LinuxNamespaceType::User => {
                let field = "linux.namespaces";
                return Err(Refused::UserNamespace { field });
            }
            LinuxNamespaceType::Time => {
                let field = "linux.namespaces: time";
                return Err(Refused::Field { field });
            }
            _ => {}
        }
    }
    let own = |kind| {
        let found = namespaces.iter().find(|one| one.typ() == kind);
        found.is_some_and(|one| one.path().is_none())
    };
    if !own(LinuxNamespaceType::Mount) {
        return Err(Refused::NoMountNamespace);
    }
    let named = [
        ("hostname", spec.hostname()),
        ("domainname", spec.domainname()),
    ];
    for (field, name) in named {
        // The containers of a pod have the host name of the sandbox that they join.
        let joins = kinds.contains(&LinuxNamespaceType::Uts);
        if name.as_deref().is_some_and(|name| !name.is_empty()) && !joins {
            return Err(Refused::SharedUts { field });
        }
    }
    Ok(())
}

fn check_linux(linux: &Linux, selinux: &Path) -> Result<(), Refused> {
    check_label(linux.mount_label().as_deref(), selinux)?;
    let mappings = [
        ("linux.uidMappings", linux.uid_mappings()),
        ("linux.gidMappings", linux.gid_mappings()),
    ];
    for (field, mappings) in mappings {
        if mappings.iter().flatten().next().is_some() {
            return Err(Refused::UserNamespace { field });
        }
    }
    let personality = linux.personality().as_ref();
    let fields = [
        (
            "linux.timeOffsets",
            linux.time_offsets().iter().flatten().next().is_some(),
        ),
        (
            "linux.personality.flags",
            personality.is_some_and(|it| it.flags().iter().flatten().next().is_some()),
        ),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        (
            "linux.netDevices",
            linux.net_devices().iter().flatten().next().is_some(),
        ),
    ];
    if let Some((field, _)) = fields.into_iter().find(|(_, asked)| *asked) {
        return Err(Refused::Field { field });
    }
    match linux.rootfs_propagation().as_deref() {
        None | Some("" | "shared" | "slave" | "private" | "unbindable") => Ok(()),
        Some("rshared" | "rslave" | "rprivate" | "runbindable") => Ok(()),
        Some(other) => Err(Refused::RootPropagation(other.to_owned())),
    }
}

/// Limits that control groups cannot set, on this node or at all.
pub(super) fn check_resources(resources: &LinuxResources, unified: bool) -> Result<(), Refused> {
    let memory = resources.memory().as_ref();
    let cpu = resources.cpu().as_ref();
    let block = resources.block_io().as_ref();
    let network = resources.network().as_ref();
    let nowhere = [
        (
            "linux.resources.rdma",
            resources.rdma().iter().flatten().next().is_some(),
        ),
        (
            "linux.resources.memory.disableOOMKiller",
            memory.is_some_and(|it| it.disable_oom_killer() == Some(true)),
        ),
        (
            "linux.resources.memory.kernel",
            memory.is_some_and(|it| it.kernel().is_some_and(|bytes| bytes > 0)),
        ),
        (
            "linux.resources.memory.kernelTCP",
            memory.is_some_and(|it| it.kernel_tcp().is_some_and(|bytes| bytes > 0)),
        ),
        (
            "linux.resources.memory.useHierarchy",
            memory.is_some_and(|it| it.use_hierarchy() == Some(false)),
        ),
    ];
    if let Some((field, _)) = nowhere.into_iter().find(|(_, asked)| *asked) {
        return Err(Refused::Field { field });
    }
    let of_one = [
        (
            "linux.resources.unified",
            !unified && resources.unified().iter().flatten().next().is_some(),
        ),
        (
            "linux.resources.memory.swappiness",
            unified && memory.is_some_and(|it| it.swappiness().is_some()),
        ),
        (
            "linux.resources.cpu.realtimeRuntime",
            unified && cpu.is_some_and(|it| it.realtime_runtime().is_some_and(|it| it != 0)),
        ),
        (
            "linux.resources.cpu.realtimePeriod",
            unified && cpu.is_some_and(|it| it.realtime_period().is_some_and(|it| it != 0)),
        ),
        (
            "linux.resources.blockIO.leafWeight",
            unified && block.is_some_and(|it| it.leaf_weight().is_some()),
        ),
        (
            "linux.resources.network",
            unified
                && network.is_some_and(|it| {
                    it.class_id().is_some() || it.priorities().iter().flatten().next().is_some()
                }),
        ),
    ];
    let condition = match unified {
        true => "with control groups of version 2",
        false => "with control groups of version 1",
    };
    match of_one.into_iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(Refused::FieldHere { field, condition }),
        None => Ok(()),
    }
}

fn check_mount(mount: &Mount) -> Result<(), Refused> {
    let mapped = mount
        .uid_mappings()
        .iter()
        .chain(mount.gid_mappings().iter());
    if mapped.flatten().next().is_some() {
        let field = "mounts[].uidMappings";
        return Err(Refused::UserNamespace { field });
    }
    let options = mount.options().as_deref().unwrap_or_default();
    let bind = mount.typ().as_deref() == Some("bind")
        || options
            .iter()
            .any(|option| option == "bind" || option == "rbind");
    let offered = |option: &&String| {
        let option = option.as_str();
        // The kernel accepts no file system options for a bind mount.
        !NOT_HEEDED.contains(&option) && (!bind || option.is_empty() || OPTIONS.contains(&option))
    };
    match options.iter().find(|option| !offered(option)) {
        Some(option) => Err(Refused::MountOption {
            destination: mount.destination().display().to_string(),
            option: option.clone(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
