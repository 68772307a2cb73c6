use super::*;
use serde_json::json;

fn spec(linux: Value) -> Value {
    let mut linux = linux;
    if linux.get("namespaces").is_none() {
        linux["namespaces"] = json!([{ "type": "mount" }]);
    }
    json!({ "ociVersion": "1.2.0", "linux": linux })
}

fn refused(raw: &Value, unified: bool) -> String {
    let spec = serde_json::from_value(raw.clone()).unwrap();
    let checked = unknown(raw, &spec).and_then(|()| check(&spec, unified));
    checked.map_or_else(|error| error.to_string(), |()| "offered".to_owned())
}

#[test]
fn every_field_that_is_offered_is_read() {
    let text = include_str!("../../../../../tests/fixtures/specification.json");
    let raw: Value = serde_json::from_str(text).unwrap();
    assert_eq!(refused(&raw, true), "offered");
}

#[test]
fn a_field_that_nobody_knows_is_named() {
    let raw = spec(json!({ "resources": { "cpu": { "shares": 2, "cores": 2 } } }));
    assert!(refused(&raw, true).contains("`linux.resources.cpu.cores`"));
    let raw = spec(json!({ "devices": [
        { "path": "/dev/x", "type": "c", "major": 1, "minor": 3, "colour": "red" },
    ] }));
    assert!(refused(&raw, true).contains("`linux.devices[0].colour`"));
    let nothing = spec(json!({ "resources": { "cpu": { "cores": 0, "names": [], "on": false } } }));
    assert_eq!(refused(&nothing, true), "offered");
}

#[test]
fn what_is_not_offered_is_refused_by_name() {
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    let mount = json!({ "type": "mount" });
    for (linux, word) in [
        (
            json!({ "namespaces": [mount, { "type": "user" }] }),
            "user namespaces",
        ),
        (json!({ "namespaces": [mount, { "type": "time" }] }), "time"),
        (json!({ "namespaces": [mount, mount] }), "twice"),
        (
            json!({ "namespaces": [{ "type": "pid" }] }),
            "mount namespace",
        ),
        (
            json!({ "namespaces": [{ "type": "mount", "path": "/proc/1/ns/mnt" }] }),
            "mount namespace",
        ),
        (json!({ "uidMappings": map }), "linux.uidMappings"),
        (json!({ "gidMappings": map }), "linux.gidMappings"),
        (
            json!({ "timeOffsets": { "boottime": { "secs": 1 } } }),
            "linux.timeOffsets",
        ),
        (
            json!({ "intelRdt": { "closID": "class" } }),
            "linux.intelRdt",
        ),
        (
            json!({ "netDevices": { "eth7": { "name": "inside" } } }),
            "linux.netDevices",
        ),
        (json!({ "rootfsPropagation": "sideways" }), "sideways"),
        (
            json!({ "personality": { "domain": "LINUX", "flags": ["X"] } }),
            "personality.flags",
        ),
        (
            json!({ "resources": { "rdma": { "mlx5_1": { "hcaHandles": 3 } } } }),
            "resources.rdma",
        ),
        (
            json!({ "resources": { "memory": { "disableOOMKiller": true } } }),
            "disableOOMKiller",
        ),
        (
            json!({ "resources": { "memory": { "useHierarchy": false } } }),
            "useHierarchy",
        ),
        (
            json!({ "resources": { "memory": { "kernel": 4096 } } }),
            "memory.kernel",
        ),
        (
            json!({ "resources": { "memory": { "kernelTCP": 4096 } } }),
            "memory.kernelTCP",
        ),
    ] {
        let told = refused(&spec(linux), true);
        assert!(told.contains(word), "{word}: {told}");
    }
}

#[test]
fn limits_of_the_other_version_of_control_groups_are_refused() {
    for (resources, version) in [
        (json!({ "unified": { "memory.high": "1" } }), false),
        (json!({ "memory": { "swappiness": 10 } }), true),
        (json!({ "cpu": { "realtimePeriod": 10 } }), true),
        (json!({ "cpu": { "realtimeRuntime": 10 } }), true),
        (json!({ "blockIO": { "leafWeight": 10 } }), true),
        (json!({ "network": { "classID": 1 } }), true),
    ] {
        let raw = spec(json!({ "resources": resources }));
        assert!(
            refused(&raw, version).contains("control groups of version"),
            "{raw}"
        );
        assert_eq!(refused(&raw, !version), "offered");
    }
}

#[test]
fn options_of_a_mount_that_nothing_heeds_are_refused() {
    let with = |kind: &str, option: &str| {
        let mut raw = spec(json!({}));
        let mount = json!({
            "destination": "/data", "type": kind, "source": "/x", "options": [option],
        });
        raw["mounts"] = json!([mount]);
        refused(&raw, true)
    };
    for option in ["rbind", "ro", "rro", "rprivate", "noexec", ""] {
        assert_eq!(with("bind", option), "offered", "{option}");
    }
    assert_eq!(with("tmpfs", "size=65536k"), "offered");
    for (kind, option) in [("bind", "size=1"), ("bind", "idmap"), ("tmpfs", "sync")] {
        let told = with(kind, option);
        assert!(told.contains(option) && told.contains("/data"), "{told}");
    }
}

#[test]
fn mounts_of_other_users_are_refused() {
    let mut raw = spec(json!({}));
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    raw["mounts"] = json!([
        { "destination": "/data", "type": "bind", "source": "/x", "uidMappings": map },
    ]);
    assert!(refused(&raw, true).contains("user namespaces"));
}

#[test]
fn names_of_a_shared_machine_and_labels_without_selinux_are_refused() {
    let mut raw = spec(json!({}));
    raw["hostname"] = json!("mine");
    assert!(refused(&raw, true).contains("`hostname`"));
    raw["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "uts" }]);
    assert_eq!(refused(&raw, true), "offered");
    let process = json!({ "cwd": "/", "user": { "uid": 0, "gid": 0 }, "selinuxLabel": "a:b:c" });
    let process: Process = serde_json::from_value(process).unwrap();
    let error = check_process(&process, Path::new("/does/not/exist")).unwrap_err();
    assert_eq!(error, Refused::NoSelinux("a:b:c".to_owned()));
    assert_eq!(check_process(&process, Path::new("/")), Ok(()));
    let linux: Linux = serde_json::from_value(json!({ "mountLabel": "a:b:c" })).unwrap();
    let error = check_linux(&linux, Path::new("/does/not/exist")).unwrap_err();
    assert_eq!(error, Refused::NoSelinux("a:b:c".to_owned()));
    assert_eq!(check_linux(&linux, Path::new("/")), Ok(()));
}
