//! The fields, each present, empty and absent.

use std::path::Path;

use serde_json::{Value, json};

/// One state of one field.
#[derive(Clone, Copy)]
pub(super) struct Field {
    /// Its name on the page on containers.
    pub(super) name: &'static str,
    /// The expected result.
    pub(super) expect: Expect,
    /// Puts the specification into that state; the folder is one to mount.
    pub(super) change: fn(&mut Value, &Path),
}

/// The expected result of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expect {
    /// The same as under runc.
    Same,
    /// These kernel values: the field is newer than runc 1.1, which ignores it.
    Has(&'static str, &'static str),
    /// An error that contains this word.
    Refused(&'static str),
}

/// A minimal container as containerd would specify it.
pub(super) fn base(root: &Path, args: &[&str], group: &str) -> Value {
    json!({
        "ociVersion": "1.1.0",
        "hostname": "compared",
        "root": { "path": root },
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/bin", "SKIFF_HTTP_LISTEN_ADDR=[::]:8080"],
            "cwd": "/",
            "capabilities": sets(json!(["CAP_CHOWN", "CAP_NET_BIND_SERVICE"])),
            "noNewPrivileges": true,
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "linux": {
            "cgroupsPath": group,
            "namespaces": [
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                { "type": "network" },
            ],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/does-not-exist"],
            "readonlyPaths": ["/proc/sys", "/proc/irq", "/proc/bus"],
        },
    })
}

fn sets(capabilities: Value) -> Value {
    json!({
        "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
        "inheritable": [], "ambient": [],
    })
}

fn without(holder: &mut Value, name: &str) {
    if let Some(fields) = holder.as_object_mut() {
        fields.remove(name);
    }
}

fn mounted(spec: &mut Value, data: &Path, options: &[&str]) {
    let mount = json!({
        "destination": "/data", "type": "bind", "source": data, "options": options,
    });
    if let Some(mounts) = spec["mounts"].as_array_mut() {
        mounts.push(mount);
    }
}

const fn same(name: &'static str, change: fn(&mut Value, &Path)) -> Field {
    let expect = Expect::Same;
    Field {
        name,
        expect,
        change,
    }
}

const fn has(
    name: &'static str,
    seen: (&'static str, &'static str),
    change: fn(&mut Value, &Path),
) -> Field {
    let expect = Expect::Has(seen.0, seen.1);
    Field {
        name,
        expect,
        change,
    }
}

const fn refused(name: &'static str, word: &'static str, change: fn(&mut Value, &Path)) -> Field {
    let expect = Expect::Refused(word);
    Field {
        name,
        expect,
        change,
    }
}

/// As under runc if the node has that file, and refused otherwise.
fn where_there_is(
    file: &str,
    name: &'static str,
    word: &'static str,
    change: fn(&mut Value, &Path),
) -> Field {
    match Path::new(file).exists() {
        true => same(name, change),
        false => refused(name, word, change),
    }
}

/// All of them.
pub(super) fn all() -> Vec<Field> {
    let mut all = process();
    all.extend(mounts());
    all.extend(linux());
    all.extend(resources());
    all
}

fn process() -> Vec<Field> {
    vec![
        same("capabilities_present", |_, _| {}),
        same("capabilities_empty", |spec, _| {
            spec["process"]["capabilities"] = json!({})
        }),
        same("capabilities_absent", |spec, _| {
            without(&mut spec["process"], "capabilities")
        }),
        same("capabilities_empty_for_another_user", |spec, _| {
            spec["process"]["capabilities"] = json!({});
            spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        }),
        same("capabilities_of_another_user", |spec, _| {
            spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        }),
        same("capabilities_inherited_and_ambient", |spec, _| {
            let all = json!(["CAP_CHOWN", "CAP_KILL"]);
            spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
            spec["process"]["capabilities"] = json!({
                "bounding": all, "effective": all, "permitted": all, "inheritable": all,
                "ambient": ["CAP_KILL"],
            });
        }),
        same("capabilities_bounding_alone", |spec, _| {
            spec["process"]["capabilities"] = json!({ "bounding": ["CAP_CHOWN"] });
        }),
        same("user_groups_and_umask", |spec, _| {
            spec["process"]["user"] = json!({
                "uid": 7, "gid": 8, "umask": 0o077, "additionalGids": [10, 9],
            });
        }),
        same("groups_empty", |spec, _| {
            spec["process"]["user"] = json!({ "uid": 7, "gid": 8, "additionalGids": [] });
        }),
        same("new_privileges_absent", |spec, _| {
            without(&mut spec["process"], "noNewPrivileges")
        }),
        same("rlimits", |spec, _| {
            spec["process"]["rlimits"] = json!([
                { "type": "RLIMIT_NOFILE", "hard": 2048, "soft": 1024 },
                { "type": "RLIMIT_CORE", "hard": 0, "soft": 0 },
            ]);
        }),
        same("rlimits_empty", |spec, _| {
            spec["process"]["rlimits"] = json!([])
        }),
        same("oom_score", |spec, _| {
            spec["process"]["oomScoreAdj"] = json!(500)
        }),
        same("oom_score_absent", |_, _| {}),
        same("working_directory_missing", |spec, _| {
            spec["process"]["cwd"] = json!("/not/there")
        }),
        has(
            "scheduler",
            (
                "scheduler",
                "current scheduling policy: SCHED_BATCH, current scheduling priority: 0",
            ),
            |spec, _| {
                spec["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 5 });
            },
        ),
        has("scheduler_nice", ("nice", "5"), |spec, _| {
            spec["process"]["scheduler"] = json!({ "policy": "SCHED_OTHER", "nice": 5 });
        }),
        has(
            "io_priority",
            ("io priority", "best-effort: prio 6"),
            |spec, _| {
                spec["process"]["ioPriority"] =
                    json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 });
            },
        ),
        same("affinity_of_exec", |spec, _| {
            spec["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "0" });
        }),
        refused("apparmor_without_apparmor", "apparmor", |spec, _| {
            spec["process"]["apparmorProfile"] = json!("profile");
        }),
        refused("selinux_without_selinux", "SELinux", |spec, _| {
            spec["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0");
        }),
    ]
}

fn mounts() -> Vec<Field> {
    vec![
        same("mount_read_only", |spec, data| {
            mounted(spec, data, &["rbind", "rprivate", "ro"])
        }),
        same("mount_options", |spec, data| {
            mounted(
                spec,
                data,
                &["rbind", "nosuid", "nodev", "noexec", "rprivate"],
            );
        }),
        same("mount_options_empty", |spec, data| {
            mounted(spec, data, &["rbind"])
        }),
        same("mount_read_only_and_all_below", |spec, _| {
            // It has submounts on every node.
            mounted(spec, Path::new("/sys"), &["rbind", "rprivate", "rro"]);
        }),
        same("mount_propagation_private", |spec, data| {
            mounted(spec, data, &["rbind", "rprivate", "rw"]);
        }),
        same("mount_propagation_from_the_node", |spec, data| {
            mounted(spec, data, &["rbind", "rslave", "rw"]);
            spec["linux"]["rootfsPropagation"] = json!("rslave");
        }),
        same("mount_propagation_both_ways", |spec, data| {
            mounted(spec, data, &["rbind", "rshared", "rw"]);
            spec["linux"]["rootfsPropagation"] = json!("rshared");
        }),
        same("root_read_only", |spec, _| {
            spec["root"]["readonly"] = json!(true)
        }),
        same("root_propagation_private", |spec, _| {
            spec["linux"]["rootfsPropagation"] = json!("rprivate");
        }),
        same("cgroups_writable", |spec, _| {
            spec["mounts"][5]["options"] = json!(["nosuid", "noexec", "nodev", "relatime", "rw"]);
        }),
        refused("mount_option_unknown", "colour", |spec, data| {
            mounted(spec, data, &["rbind", "colour=red"]);
        }),
    ]
}

fn linux() -> Vec<Field> {
    vec![
        same("masked_and_read_only_paths_absent", |spec, _| {
            without(&mut spec["linux"], "maskedPaths");
            without(&mut spec["linux"], "readonlyPaths");
        }),
        same("masked_and_read_only_paths_empty", |spec, _| {
            spec["linux"]["maskedPaths"] = json!([]);
            spec["linux"]["readonlyPaths"] = json!([]);
        }),
        same("namespaces_shared", |spec, _| {
            spec["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "network" }]);
            without(spec, "hostname");
        }),
        same("namespace_of_control_groups", |spec, _| {
            let all = spec["linux"]["namespaces"].as_array_mut();
            all.into_iter()
                .for_each(|all| all.push(json!({ "type": "cgroup" })));
        }),
        same("devices", |spec, _| {
            spec["linux"]["devices"] = json!([
                { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 5, "gid": 6 },
                { "path": "/dev/loop-one", "type": "b", "major": 7, "minor": 1 },
            ]);
        }),
        same("devices_empty", |spec, _| {
            spec["linux"]["devices"] = json!([])
        }),
        same("device_rules_empty", |spec, _| {
            spec["linux"]["resources"] = json!({ "devices": [] });
        }),
        same("device_rules_absent", |spec, _| {
            without(&mut spec["linux"], "resources")
        }),
        same("device_rules", |spec, _| {
            spec["linux"]["resources"]["devices"] = json!([
                { "allow": false, "access": "rwm" },
                { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
                { "allow": true, "type": "b", "major": 7, "access": "r" },
            ]);
        }),
        same("device_rules_all", |spec, _| {
            spec["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
        }),
        same("sysctls", |spec, _| {
            spec["linux"]["sysctl"] = json!({
                "net.core.somaxconn": "321", "kernel.shmmax": "1048576",
                "net.ipv4.ip_unprivileged_port_start": "0",
            });
        }),
        same("sysctls_empty", |spec, _| {
            spec["linux"]["sysctl"] = json!({})
        }),
        same("seccomp_empty", |spec, _| {
            spec["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": [], "syscalls": [],
            });
        }),
        has("personality", ("personality", "00000008"), |spec, _| {
            spec["linux"]["personality"] = json!({ "domain": "LINUX32" })
        }),
        has("memory_policy", ("memory policy", "bind:0"), |spec, _| {
            spec["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0" });
        }),
        refused("mount_label_without_selinux", "SELinux", |spec, _| {
            spec["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
        }),
        same("seccomp", |spec, _| spec["linux"]["seccomp"] = filter()),
        same("seccomp_and_new_privileges", |spec, _| {
            spec["linux"]["seccomp"] = filter();
            without(&mut spec["process"], "noNewPrivileges");
        }),
        refused("sysctl_of_the_node", "vm.swappiness", |spec, _| {
            // Its current value: nothing would change on this machine even if it were
            // set.
            let now = std::fs::read_to_string("/proc/sys/vm/swappiness");
            let now = now.unwrap_or_default();
            spec["linux"]["sysctl"] = json!({ "vm.swappiness": now.trim() });
        }),
        refused("namespace_mount_absent", "mount namespace", |spec, _| {
            spec["linux"]["namespaces"] = json!([{ "type": "pid" }]);
            without(spec, "hostname");
        }),
        refused("hostname_of_the_node", "hostname", |spec, _| {
            spec["linux"]["namespaces"] = json!([{ "type": "mount" }]);
        }),
    ]
}

fn filter() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["swapon", "not_a_call"], "action": "SCMP_ACT_ERRNO" }],
    })
}

/// A disk of this machine, by its numbers.
fn disk() -> (u32, u32) {
    let disks = std::fs::read_dir("/sys/block").into_iter().flatten();
    let numbers = disks.flatten().find_map(|disk| {
        let numbers = std::fs::read_to_string(disk.path().join("dev")).ok()?;
        let (major, minor) = numbers.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    numbers.unwrap_or_default()
}

fn resources() -> Vec<Field> {
    vec![
        same("memory_and_swap", |spec, _| {
            spec["linux"]["resources"]["memory"] = json!({
                "limit": 256 << 20, "swap": 256 << 20, "reservation": 128 << 20,
            });
        }),
        same("cpu", |spec, _| {
            spec["linux"]["resources"]["cpu"] = json!({
                "shares": 512, "quota": 20000, "period": 100_000, "cpus": "0",
            });
        }),
        same("limits_empty", |spec, _| {
            spec["linux"]["resources"] = json!({
                "devices": [{ "allow": false, "access": "rwm" }],
                "memory": {}, "cpu": {}, "blockIO": {}, "hugepageLimits": [], "unified": {},
            });
        }),
        same("block_io", |spec, _| {
            let (major, minor) = disk();
            let rate = |rate| json!([{ "major": major, "minor": minor, "rate": rate }]);
            spec["linux"]["resources"]["blockIO"] = json!({
                "throttleReadBpsDevice": rate(1 << 20), "throttleWriteBpsDevice": rate(2 << 20),
                "throttleReadIOPSDevice": rate(300), "throttleWriteIOPSDevice": rate(400),
            });
        }),
        where_there_is(
            "/sys/fs/cgroup/hugetlb",
            "huge_pages",
            "hugetlb",
            |spec, _| {
                spec["linux"]["resources"]["hugepageLimits"] =
                    json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
            },
        ),
        same("pids", |spec, _| {
            spec["linux"]["resources"]["pids"] = json!({ "limit": 77 })
        }),
        where_there_is(
            "/sys/fs/cgroup/cgroup.controllers",
            "unified_on_version_one",
            "linux.resources.unified",
            |spec, _| {
                spec["linux"]["resources"]["unified"] = json!({ "memory.high": "1073741824" });
            },
        ),
        refused("oom_killer_disabled", "disableOOMKiller", |spec, _| {
            spec["linux"]["resources"]["memory"] = json!({ "disableOOMKiller": true });
        }),
        refused("rdma", "rdma", |spec, _| {
            spec["linux"]["resources"]["rdma"] = json!({ "mlx5_1": { "hcaHandles": 3 } });
        }),
    ]
}
