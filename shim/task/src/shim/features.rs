//! The features that this runtime reports to containerd, in the format of the OCI runtime
//! specification. Only supported features are listed: containerd uses them to offer
//! recursive read-only mounts and user namespaces to pods.

use containerd_shim::protos::protobuf::well_known_types::any::Any;
use serde_json::{Value, json};

/// The type of the features, as containerd names it.
const TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Supported mount options.
const MOUNT_OPTIONS: &[&str] = &[
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "unbindable",
];

/// The features in the form that containerd asks for.
pub(crate) fn message() -> Any {
    Any {
        type_url: TYPE.to_owned(),
        value: features().to_string().into_bytes(),
        ..Any::default()
    }
}

/// User namespaces and idmapped mounts are missing: neither is supported.
fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
            "poststop",
        ],
        "mountOptions": MOUNT_OPTIONS,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "uts"],
            "cgroup": {
                "v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": false,
            },
            "seccomp": { "enabled": true },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "mountExtensions": { "idmap": { "enabled": false } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_so_is_told() {
        let told = features();
        let options = told["mountOptions"].as_array().unwrap();
        assert!(options.contains(&json!("rro")));
        let namespaces = told["linux"]["namespaces"].as_array().unwrap();
        assert!(!namespaces.contains(&json!("user")));
        assert_eq!(
            told["linux"]["mountExtensions"]["idmap"]["enabled"],
            json!(false)
        );
        assert_eq!(message().value, told.to_string().into_bytes());
    }
}
