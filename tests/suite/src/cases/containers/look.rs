//! What the kernel reports of a container's first process.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// Lines of `status` about the permissions of a process.
const STATUS: [&str; 13] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "NoNewPrivs",
    "Seccomp",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "Seccomp_filters",
    "Cpus_allowed_list",
];

/// Files of control groups, of both versions.
const GROUPS: [(&str, &str); 27] = [
    ("memory", "memory.limit_in_bytes"),
    ("memory", "memory.memsw.limit_in_bytes"),
    ("memory", "memory.soft_limit_in_bytes"),
    ("memory", "memory.swappiness"),
    ("memory", "memory.oom_control"),
    ("cpu", "cpu.shares"),
    ("cpu", "cpu.cfs_quota_us"),
    ("cpu", "cpu.cfs_period_us"),
    ("cpu", "cpu.cfs_burst_us"),
    ("cpu", "cpu.idle"),
    ("cpuset", "cpuset.cpus"),
    ("cpuset", "cpuset.mems"),
    ("pids", "pids.max"),
    ("devices", "devices.list"),
    ("blkio", "blkio.bfq.weight"),
    ("blkio", "blkio.throttle.read_bps_device"),
    ("blkio", "blkio.throttle.write_bps_device"),
    ("blkio", "blkio.throttle.read_iops_device"),
    ("blkio", "blkio.throttle.write_iops_device"),
    ("", "memory.max"),
    ("", "memory.swap.max"),
    ("", "memory.low"),
    ("", "cpu.weight"),
    ("", "cpu.max"),
    ("", "cpu.max.burst"),
    ("", "cpuset.cpus"),
    ("", "pids.max"),
];

/// What is read inside the container's network, IPC and UTS namespaces.
const WITHIN: &str = "hostname; domainname; \
    cat /proc/sys/kernel/shmmax /proc/sys/kernel/shm_rmid_forced /proc/sys/net/core/somaxconn \
    /proc/sys/net/ipv4/ip_unprivileged_port_start";

/// How long a process may take from its start to its program.
const EXECUTED_WITHIN: Duration = Duration::from_secs(20);

/// All values, by name.
pub(super) fn of(pid: u32) -> anyhow::Result<BTreeMap<String, String>> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    wait_executed(&process)?;
    let read = |name: &str| {
        fs::read_to_string(process.join(name)).with_context(|| format!("reading {name}"))
    };
    let mut seen = BTreeMap::new();
    for line in read("status")?.lines() {
        if let Some((name, value)) = line.split_once(':')
            && STATUS.contains(&name)
        {
            seen.insert(
                name.to_owned(),
                value.split_whitespace().collect::<Vec<_>>().join(" "),
            );
        }
    }
    for line in read("limits")?.lines().skip(1) {
        let (name, values) = line.split_at_checked(26).unwrap_or((line, ""));
        let values: Vec<_> = values.split_whitespace().take(2).collect();
        seen.insert(format!("limit {}", name.trim()), values.join(" "));
    }
    for name in ["oom_score_adj", "personality"] {
        seen.insert(name.to_owned(), read(name)?.trim().to_owned());
    }
    let stat = read("stat")?;
    let nice = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(16));
    seen.insert("nice".to_owned(), nice.unwrap_or_default().to_owned());
    seen.insert("scheduler".to_owned(), said("chrt", &process)?);
    seen.insert("io priority".to_owned(), said("ionice", &process)?);
    // From the first mapping: all have that of the process.
    let policy = read("numa_maps")?;
    let policy = policy.split_whitespace().nth(1).unwrap_or_default();
    seen.insert("memory policy".to_owned(), policy.to_owned());
    for kind in ["net", "ipc", "uts", "pid", "mnt", "cgroup"] {
        let of = |holder: &Path| fs::read_link(holder.join("ns").join(kind));
        let shared = of(&process)? == of(Path::new("/proc/self"))?;
        let word = if shared { "the node's" } else { "its own" };
        seen.insert(format!("namespace {kind}"), word.to_owned());
    }
    let cwd = fs::read_link(process.join("cwd"))?;
    seen.insert("cwd".to_owned(), cwd.display().to_string());
    for line in read("mountinfo")?.lines() {
        let (name, value) = mount(line).with_context(|| format!("mount {line}"))?;
        // The topmost mount counts.
        seen.insert(name, value);
    }
    devices(&process.join("root/dev"), &mut seen)?;
    groups(&read("cgroup")?, &mut seen);
    let within = Command::new("nsenter")
        .args([
            "--target",
            &pid.to_string(),
            "--net",
            "--ipc",
            "--uts",
            "sh",
            "-c",
            WITHIN,
        ])
        .output()
        .context("running nsenter")?;
    let within = String::from_utf8_lossy(&within.stdout)
        .lines()
        .collect::<Vec<_>>()
        .join(" ");
    seen.insert("names and kernel parameters".to_owned(), within);
    Ok(seen)
}

/// What a program of util-linux says of the process, without its id.
fn said(program: &str, process: &Path) -> anyhow::Result<String> {
    let pid = process.file_name().unwrap_or_default();
    let output = Command::new(program).arg("-p").arg(pid).output()?;
    ensure!(output.status.success(), "{program}: {output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(|line| line.rsplit("'s ").next());
    Ok(lines.flatten().collect::<Vec<_>>().join(", "))
}

/// runc's start returns before its process has executed the program.
fn wait_executed(process: &Path) -> anyhow::Result<()> {
    let end = Instant::now() + EXECUTED_WITHIN;
    loop {
        let command = fs::read(process.join("cmdline")).context("the process has ended")?;
        if !command.starts_with(b"runc\0init") && !command.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "it does not execute its program");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Its path, flags, propagation and type.
fn mount(line: &str) -> Option<(String, String)> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(4);
    let (point, options) = (place.next()?, place.next()?);
    let propagation: Vec<_> = place.filter_map(|tag| tag.split(':').next()).collect();
    let mut options: Vec<_> = options.split(',').collect();
    let mut kind = kind.split(' ');
    let (kind, all) = (kind.next()?, kind.nth(1)?);
    // Either prevents a container from writing.
    if all.split(',').any(|option| option == "ro") {
        options.retain(|option| *option != "rw");
        options.push("ro");
    }
    options.sort_unstable();
    options.dedup();
    let value = format!("{kind} {} {}", options.join(","), propagation.join(","));
    Some((format!("mount {point}"), value.trim_end().to_owned()))
}

fn devices(folder: &Path, seen: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        let kind = metadata.file_type();
        let name = format!("device {}", path.file_name().unwrap_or_default().display());
        if kind.is_char_device() || kind.is_block_device() {
            let (device, mode) = (metadata.rdev(), metadata.mode());
            let (user, group) = (metadata.uid(), metadata.gid());
            seen.insert(name, format!("{device:x} {mode:o} {user} {group}"));
        } else if kind.is_symlink() {
            seen.insert(name, fs::read_link(&path)?.display().to_string());
        }
    }
    Ok(())
}

fn groups(text: &str, seen: &mut BTreeMap<String, String>) {
    for (controller, file) in GROUPS {
        let line = text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (names, path) = (parts.next()?, parts.next()?);
            names
                .split(',')
                .any(|name| name == controller)
                .then_some(path)
        });
        let Some(path) = line else { continue };
        let root = Path::new("/sys/fs/cgroup").join(controller);
        let path = root.join(path.trim_start_matches('/')).join(file);
        if let Ok(text) = fs::read_to_string(path) {
            let mut lines: Vec<_> = text.lines().collect();
            lines.sort_unstable();
            seen.insert(file.to_owned(), lines.join(", "));
        }
    }
}
