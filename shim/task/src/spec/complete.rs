//! Fills in the fields missing in a specification, with runc's meaning.

use std::collections::HashSet;

use oci_spec::runtime::{
    Linux, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxDeviceCgroup,
    LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxResources, LinuxResourcesBuilder, Process,
    Spec,
};

/// The umask of a container whose specification has none.
const UMASK: u32 = 0o022;

/// The kernel's default CPU period, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// Completes a specification.
pub(super) fn complete(spec: &mut Spec) {
    if let Some(process) = spec.process_mut() {
        complete_process(process);
    }
    let mut linux = spec.linux().clone().unwrap_or_else(empty_linux);
    complete_linux(&mut linux);
    spec.set_linux(Some(linux));
}

fn complete_process(process: &mut Process) {
    let given = process.capabilities().as_ref();
    process.set_capabilities(Some(all_sets(given)));
    let mut user = process.user().clone();
    user.set_umask(user.umask().or(Some(UMASK)));
    process.set_user(user);
    // libcontainer only checks whether the field exists, and then loads the system call
    // filter too late for a process that may not gain privileges.
    if process.no_new_privileges() == Some(false) {
        process.set_no_new_privileges(None);
    }
    if process.apparmor_profile().as_deref() == Some("") {
        process.set_apparmor_profile(None);
    }
}

/// libcontainer leaves a missing capability set unchanged, which is full in the shim.
fn all_sets(given: Option<&LinuxCapabilities>) -> LinuxCapabilities {
    let set = |given: Option<&Option<HashSet<_>>>| given.cloned().flatten().unwrap_or_default();
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(set(given.map(LinuxCapabilities::bounding)))
        .effective(set(given.map(LinuxCapabilities::effective)))
        .inheritable(set(given.map(LinuxCapabilities::inheritable)))
        .permitted(set(given.map(LinuxCapabilities::permitted)))
        .ambient(set(given.map(LinuxCapabilities::ambient)));
    sets.build().unwrap_or_default()
}

fn complete_linux(linux: &mut Linux) {
    let propagation = linux.rootfs_propagation().as_deref();
    // Other names for the same: the root is always changed recursively.
    let known = match propagation {
        Some("rshared") => Some("shared"),
        Some("rslave" | "") => Some("slave"),
        Some("rprivate") => Some("private"),
        Some("runbindable") => Some("unbindable"),
        _ => None,
    };
    if let Some(known) = known {
        linux.set_rootfs_propagation(Some(known.to_owned()));
    }
    let mut resources = linux.resources().clone().unwrap_or_else(no_resources);
    complete_resources(&mut resources);
    linux.set_resources(Some(resources));
}

fn complete_resources(resources: &mut LinuxResources) {
    // A new group may use what its parent may: every device.
    let devices = resources.devices().iter().flatten().cloned();
    let devices = no_device().into_iter().chain(devices);
    resources.set_devices(Some(devices.collect()));
    if let Some(cpu) = resources.cpu_mut() {
        // libcontainer checks the other fields before this one.
        let alone = cpu.shares().is_none() && cpu.quota().is_none() && cpu.period().is_none();
        if cpu.burst().is_some() && alone {
            cpu.set_period(Some(CPU_PERIOD));
        }
    }
}

/// The rule that denies all devices; later rules may allow some.
fn no_device() -> Option<LinuxDeviceCgroup> {
    let rule = LinuxDeviceCgroupBuilder::default()
        .allow(false)
        .typ(LinuxDeviceType::A)
        .access("rwm");
    rule.build().ok()
}

fn empty_linux() -> Linux {
    let mut linux = Linux::default();
    linux
        .set_resources(None)
        .set_namespaces(None)
        .set_devices(None)
        .set_masked_paths(None)
        .set_readonly_paths(None);
    linux
}

fn no_resources() -> LinuxResources {
    LinuxResourcesBuilder::default().build().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn completed(mut given: Value) -> Spec {
        given["ociVersion"] = json!("1.2.0");
        let mut spec = serde_json::from_value(given).unwrap();
        complete(&mut spec);
        spec
    }

    fn process(fields: Value) -> Value {
        let mut process = json!({ "cwd": "/", "user": { "uid": 0, "gid": 0 } });
        let given = fields.as_object().unwrap().clone();
        process.as_object_mut().unwrap().extend(given);
        json!({ "process": process })
    }

    #[test]
    fn capability_sets_that_are_not_there_are_empty() {
        let absent = process(json!({}));
        let empty = process(json!({ "capabilities": {} }));
        for given in [absent, empty] {
            let spec = completed(given);
            let process = spec.process().as_ref().unwrap();
            let sets = process.capabilities().as_ref().unwrap();
            let all = [
                sets.bounding(),
                sets.effective(),
                sets.inheritable(),
                sets.permitted(),
                sets.ambient(),
            ];
            for set in all {
                assert_eq!(set.as_ref().map(HashSet::len), Some(0));
            }
        }
    }

    #[test]
    fn capability_sets_that_are_there_stay() {
        let given = process(json!({ "capabilities": { "bounding": ["CAP_CHOWN"] } }));
        let spec = completed(given);
        let process = spec.process().as_ref().unwrap();
        let sets = process.capabilities().as_ref().unwrap();
        assert_eq!(sets.bounding().as_ref().map(HashSet::len), Some(1));
        assert_eq!(sets.effective().as_ref().map(HashSet::len), Some(0));
    }

    #[test]
    fn a_mask_that_is_not_there_is_runcs() {
        let umask = |given: Value| {
            let spec = completed(process(given));
            spec.process().as_ref().unwrap().user().umask()
        };
        assert_eq!(umask(json!({})), Some(0o022));
        let given = json!({ "user": { "uid": 0, "gid": 0, "umask": 0 } });
        assert_eq!(umask(given), Some(0));
    }

    #[test]
    fn privileges_that_may_be_gained_are_not_said_to_be_so() {
        let said = |given: Value| {
            let spec = completed(process(json!({ "noNewPrivileges": given })));
            spec.process().as_ref().unwrap().no_new_privileges()
        };
        assert_eq!(said(json!(false)), None);
        assert_eq!(said(json!(true)), Some(true));
    }

    #[test]
    fn devices_are_refused_before_any_is_allowed() {
        let rules = |linux: Value| {
            let spec = completed(json!({ "linux": linux }));
            let linux = spec.linux().as_ref().unwrap();
            let resources = linux.resources().as_ref().unwrap();
            let devices = resources.devices().iter().flatten();
            devices.map(ToString::to_string).collect::<Vec<_>>()
        };
        for absent in [
            json!({}),
            json!({ "resources": {} }),
            json!({ "resources": { "devices": [] } }),
        ] {
            assert_eq!(rules(absent), ["a *:* rwm"]);
        }
        let allowed = json!({ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "r" });
        let given = json!({ "resources": { "devices": [allowed] } });
        assert_eq!(rules(given), ["a *:* rwm", "c 1:3 r"]);
        let without = completed(json!({}));
        assert!(without.linux().is_some());
    }

    #[test]
    fn the_roots_propagation_has_one_name() {
        let name = |given: &str| {
            let spec = completed(json!({ "linux": { "rootfsPropagation": given } }));
            let linux = spec.linux().as_ref().unwrap();
            linux.rootfs_propagation().clone().unwrap()
        };
        assert_eq!(name("rshared"), "shared");
        assert_eq!(name("rslave"), "slave");
        assert_eq!(name("rprivate"), "private");
        assert_eq!(name("private"), "private");
    }
}
