//! A node between versions, and after failures.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use skiff_installer::defaults::Defaults;
use skiff_installer::exit::{ExitCode, code_of};
use skiff_installer::install::InstallError;
use support::{LIMITS, TestNode};

const CONFIG: &str = "/etc/containerd/config.toml";

fn node() -> TestNode {
    TestNode::of_fixture("kubeadm-containerd-2", "2.1.4")
}

fn text(error: InstallError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

fn current(node: &TestNode) -> String {
    let link = fs::read_link(node.path("/opt/skiff/current")).expect("a link");
    link.display().to_string()
}

#[test]
fn containerd_that_does_not_come_back_gets_its_old_configuration() {
    let node = node();
    let before = node.tree();
    node.containerd.breaks.store(true, Ordering::Relaxed);
    let error = node
        .installer()
        .install(&node.payload("1.0.0"), false)
        .expect_err("it breaks");
    assert!(matches!(error, InstallError::Restored(_)), "{error:?}");
    assert_eq!(error.exit_code(), ExitCode::Runtime);
    let error = text(error);
    assert!(error.contains("taken back"), "{error}");
    assert!(error.contains("did not answer within"), "{error}");
    assert_eq!(node.containerd.take_restarts().len(), 2);
    assert_eq!(before.difference(&node.tree()), "");
}

#[test]
fn containerd_that_stays_away_is_told_as_lost() {
    let node = node();
    let before = node.tree();
    node.containerd.lost_restarts.store(2, Ordering::Relaxed);
    let error = node
        .installer()
        .install(&node.payload("1.0.0"), false)
        .expect_err("it stays away");
    assert!(matches!(error, InstallError::Lost { .. }), "{error:?}");
    assert_eq!(before.difference(&node.tree()), "");
}

#[test]
fn an_uninstall_that_breaks_containerd_is_taken_back() {
    let node = node();
    let installer = node.installer();
    installer
        .install(&node.payload("1.0.0"), false)
        .expect("installed");
    let installed = node.tree();
    node.containerd.lost_restarts.store(1, Ordering::Relaxed);
    let error = installer.uninstall(false).expect_err("it stays away");
    assert!(matches!(error, InstallError::Restored(_)), "{error:?}");
    assert_eq!(installed.difference(&node.tree()), "");
}

#[test]
fn a_restart_that_was_cut_off_is_made_up_for() {
    let node = node();
    let installer = node.installer();
    let payload = node.payload("1.0.0");
    installer.install(&payload, false).expect("installed");
    node.containerd.take_restarts();
    // As if the machine had crashed between the change and the restart.
    let with = fs::read(node.path(CONFIG)).expect("readable");
    let without = fs::read(node.path("/etc/containerd/config.toml.before-skiff"));
    fs::write(node.path(CONFIG), without.expect("kept")).expect("written");
    let restart = skiff_installer::layouts::Service::Units(&["containerd.service"]);
    use skiff_installer::node::Node;
    node.containerd
        .restart(&node.host, restart, LIMITS.restarted_within)
        .expect("restarted");
    fs::write(node.path(CONFIG), with).expect("written");
    node.containerd.take_restarts();
    let report = installer.install(&payload, false).expect("installed");
    assert!(report.restarted && report.steps.is_empty(), "{report}");
    assert_eq!(node.containerd.take_restarts(), ["containerd.service"]);
}

#[test]
fn a_containerd_that_is_down_is_not_restarted_for_nothing() {
    let node = node();
    let installer = node.installer();
    let payload = node.payload("1.0.0");
    installer.install(&payload, false).expect("installed");
    node.containerd.take_restarts();
    node.containerd.stop();
    let error = installer.install(&payload, false).expect_err("down");
    assert!(error.may_pass(), "{error:?}");
    assert!(node.containerd.take_restarts().is_empty());
}

#[test]
fn nothing_to_do_is_done_at_once() {
    let node = node();
    let installer = node.installer();
    let payload = node.payload("1.0.0");
    installer.install(&payload, false).expect("installed");
    let began = Instant::now();
    let report = installer.install(&payload, false).expect("nothing to do");
    assert!(report.is_empty(), "{report}");
    assert!(began.elapsed() < Duration::from_millis(200));
}

#[test]
fn an_upgrade_restarts_nothing_and_keeps_the_version_before() {
    let node = node();
    let installer = node.installer();
    for version in ["1.0.0", "1.1.0"] {
        installer
            .install(&node.payload(version), false)
            .expect("installed");
    }
    assert_eq!(node.containerd.take_restarts().len(), 1);
    assert_eq!(current(&node), "1.1.0");
    assert!(node.host.exists("/opt/skiff/1.0.0/skiff"));
    installer
        .install(&node.payload("1.2.0"), false)
        .expect("installed");
    assert!(!node.host.exists("/opt/skiff/1.0.0"), "it is not needed");
    assert!(node.host.exists("/opt/skiff/1.1.0/skiff"));
}

#[test]
fn a_version_stays_as_long_as_a_pod_runs_on_it() {
    let node = node();
    let installer = node.installer();
    installer
        .install(&node.payload("1.0.0"), false)
        .expect("installed");
    node.run(4711, "/opt/skiff/1.0.0/skiff");
    for version in ["1.1.0", "1.2.0"] {
        installer
            .install(&node.payload(version), false)
            .expect("installed");
    }
    assert!(node.host.exists("/opt/skiff/1.0.0/skiff"));
    node.end(4711);
    let report = installer.tidy().expect("tidied");
    assert_eq!(
        report.to_string(),
        "remove /opt/skiff/1.0.0 and all in it\n"
    );
    assert!(!node.host.exists("/opt/skiff/1.0.0"));
}

#[test]
fn a_version_under_pods_is_not_replaced_by_another_program() {
    let node = node();
    let installer = node.installer();
    let payload = node.payload("1.0.0");
    installer.install(&payload, false).expect("installed");
    node.run(7, "/opt/skiff/1.0.0/skiff");
    fs::write(payload.program(), "Another program.\n").expect("written");
    let error = installer.install(&payload, false).expect_err("in use");
    assert!(text(error).contains("a version that differs"));
    node.end(7);
    installer.install(&payload, false).expect("free now");
    let program = fs::read_to_string(node.path("/opt/skiff/1.0.0/skiff")).expect("there");
    assert_eq!(program, "Another program.\n");
}

#[test]
fn rollback_goes_to_the_version_before_and_no_further() {
    let node = node();
    let installer = node.installer();
    for version in ["1.0.0", "1.1.0"] {
        installer
            .install(&node.payload(version), false)
            .expect("installed");
    }
    let installed = node.tree();
    let shown = installer.rollback(true).expect("possible");
    assert_eq!(installed.difference(&node.tree()), "");
    let done = installer.rollback(false).expect("gone back");
    assert_eq!(shown, done);
    assert_eq!(current(&node), "1.0.0");
    assert!(!node.host.exists("/opt/skiff/1.1.0"), "it is not needed");
    let error = installer.rollback(false).expect_err("no further");
    assert_eq!(error.exit_code(), ExitCode::NoPrevious);
    assert_eq!(text(error), "no version was in use before 1.0.0");
    // And to the newer one again.
    installer
        .install(&node.payload("1.1.0"), false)
        .expect("installed");
    assert_eq!(current(&node), "1.1.0");
}

#[test]
fn defaults_for_applications_come_and_go_with_their_version() {
    use std::os::unix::fs::PermissionsExt;
    const FILE: &str = "/var/lib/skiff/defaults.toml";
    let node = node();
    let before = node.tree();
    let installer = node.installer();
    let with = |version: &str, host: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "[key_value_store.default]\ntype = 'redis'\nurl = { file = 'url' }\n";
        fs::write(folder.path().join("defaults.toml"), text).expect("written");
        let url = format!("redis://:hunter2@{host}\n");
        fs::write(folder.path().join("url"), url).expect("written");
        let defaults = Defaults::read(folder.path()).expect("right");
        node.payload(version).with_defaults(defaults)
    };
    let in_use = || fs::read_to_string(node.path(FILE)).unwrap_or_default();

    let report = installer.install(&with("1.0.0", "one"), false);
    let report = report.expect("installed").to_string();
    assert!(
        report.contains(FILE) && !report.contains("hunter2"),
        "{report}"
    );
    assert!(in_use().contains("hunter2@one"), "{}", in_use());
    let mode = |path: &str| {
        fs::metadata(node.path(path))
            .expect("there")
            .permissions()
            .mode()
    };
    assert_eq!(mode(FILE) & 0o777, 0o600);
    assert_eq!(mode("/var/lib/skiff") & 0o777, 0o700);
    installer
        .install(&with("1.0.0", "two"), false)
        .expect("installed");
    assert!(in_use().contains("@two"), "the same version has new ones");
    installer
        .install(&with("1.1.0", "three"), false)
        .expect("installed");
    installer.rollback(false).expect("gone back");
    assert!(in_use().contains("@two"), "{}", in_use());
    installer
        .install(&node.payload("1.1.0"), false)
        .expect("installed");
    assert_eq!(in_use(), "", "there are none any more");

    fs::write(node.path(FILE), "# by hand").expect("written");
    installer
        .install(&node.payload("1.2.0"), false)
        .expect("installed");
    assert_eq!(in_use(), "# by hand");
    installer.uninstall(false).expect("uninstalled");
    assert_eq!(before.difference(&node.tree()), "");
}

#[test]
fn uninstall_leaves_running_pods_their_version() {
    let node = node();
    let before = node.tree();
    let installer = node.installer();
    installer
        .install(&node.payload("1.0.0"), false)
        .expect("installed");
    node.run(12, "/opt/skiff/1.0.0/skiff");
    let report = installer.uninstall(false).expect("uninstalled");
    assert_eq!(report.kept, ["1.0.0"]);
    assert!(node.host.exists("/usr/local/bin/containerd-shim-skiff-v1"));
    let config = fs::read_to_string(node.path(CONFIG)).expect("there");
    assert!(!config.contains("skiff"), "{config}");
    fs::remove_dir_all(node.path("/proc")).expect("removed");
    installer.uninstall(false).expect("uninstalled");
    assert_eq!(before.difference(&node.tree()), "");
}

#[test]
fn uninstall_takes_what_the_shim_kept() {
    let node = node();
    let before = node.tree();
    let installer = node.installer();
    installer
        .install(&node.payload("1.0.0"), false)
        .expect("installed");
    fs::create_dir_all(node.path("/var/lib/skiff/cache")).expect("made");
    fs::write(node.path("/var/lib/skiff/cache/code"), "code").expect("written");
    fs::create_dir_all(node.path("/var/lib/other")).expect("made");
    installer.uninstall(false).expect("uninstalled");
    assert!(!node.host.exists("/var/lib/skiff"));
    fs::remove_dir_all(node.path("/var")).expect("removed");
    assert_eq!(before.difference(&node.tree()), "");
}

#[test]
fn what_others_write_meanwhile_stays() {
    let node = node();
    let before = fs::read_to_string(node.path(CONFIG)).expect("there");
    let installer = node.installer();
    installer
        .install(&node.payload("1.0.0"), false)
        .expect("installed");
    let more = "\n[metrics]\naddress = \"127.0.0.1:1338\"\n";
    let with = fs::read_to_string(node.path(CONFIG)).expect("there");
    fs::write(node.path(CONFIG), format!("{with}{more}")).expect("written");
    let report = installer
        .install(&node.payload("1.0.0"), false)
        .expect("still installed");
    assert!(report.is_empty(), "{report}");
    installer.uninstall(false).expect("uninstalled");
    let after = fs::read_to_string(node.path(CONFIG)).expect("there");
    assert_eq!(after, format!("{before}{more}"));
}

#[test]
fn the_handler_follows_the_default_runtime() {
    let node = node();
    let installer = node.installer();
    installer
        .install(&node.payload("1.0.0"), false)
        .expect("installed");
    let with = fs::read_to_string(node.path(CONFIG)).expect("there");
    let (before, block) = with.split_once("# Begin").expect("a block");
    let changed = before.replace("SystemdCgroup = true", "SystemdCgroup = false");
    fs::write(node.path(CONFIG), format!("{changed}# Begin{block}")).expect("written");
    node.containerd.take_restarts();
    installer
        .install(&node.payload("1.0.0"), false)
        .expect("installed");
    let now = fs::read_to_string(node.path(CONFIG)).expect("there");
    assert!(!now.contains("SystemdCgroup = true"), "{now}");
    assert_eq!(node.containerd.take_restarts().len(), 1);
}

#[test]
fn a_folder_that_cannot_be_written_stops_it_before_anything_is_done() {
    let node = node();
    let before = node.tree();
    let folder = node.path("/usr/local");
    fs::create_dir_all(&folder).expect("made");
    let run = |node: &TestNode| {
        let payload = node.payload("1.0.0");
        let error = node.installer().install(&payload, false);
        let error = anyhow::Error::from(error.expect_err("read-only"));
        assert_eq!(code_of(&error), ExitCode::File);
        let text = format!("{error:#}");
        assert!(text.contains("cannot write to `/usr/local`"), "{text}");
    };
    if rustix::process::geteuid().is_root() {
        // Root may write everywhere, except on a read-only mount.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                mount_read_only(&folder);
                run(&node);
            });
        });
    } else {
        let set = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode));
        set(0o555).expect("set");
        run(&node);
        set(0o755).expect("set");
    }
    fs::remove_dir(&folder).expect("nothing in it");
    assert_eq!(before.difference(&node.tree()), "");
}

/// Mounts an empty read-only folder there, for this thread only.
fn mount_read_only(folder: &std::path::Path) {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: what makes unsharing unsafe is a file table that is no longer shared
    // between threads; it is not among these flags.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.expect("a namespace");
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .expect("private");
    mount("tmpfs", folder, "tmpfs", MountFlags::RDONLY, None).expect("mounted");
}

#[test]
fn a_shim_of_ours_from_elsewhere_is_no_obstacle() {
    let node = node();
    fs::create_dir_all(node.path("/usr/local/bin")).expect("made");
    let link = node.path("/usr/local/bin/containerd-shim-skiff-v1");
    symlink("/opt/skiff/0.9.0/containerd-shim-skiff-v1", &link).expect("linked");
    node.installer()
        .install(&node.payload("1.0.0"), false)
        .expect("installed");
    let target = fs::read_link(link).expect("a link");
    assert_eq!(
        target.display().to_string(),
        "/opt/skiff/current/containerd-shim-skiff-v1"
    );
}

#[test]
fn two_at_once_are_one_too_many() {
    let node = node();
    let root = fs::File::open(node.host.root()).expect("there");
    rustix::fs::flock(&root, rustix::fs::FlockOperation::LockExclusive).expect("free");
    let payload = node.payload("1.0.0");
    let error = node.installer().install(&payload, false);
    let error = error.expect_err("another installer is at work");
    assert_eq!(error.exit_code(), ExitCode::Busy);
    drop(root);
    node.installer()
        .install(&payload, false)
        .expect("free again");
}

#[test]
fn a_dry_run_of_an_upgrade_shows_its_steps() {
    let node = node();
    let installer = node.installer();
    installer
        .install(&node.payload("1.0.0"), false)
        .expect("installed");
    let report = installer
        .install(&node.payload("1.1.0"), true)
        .expect("possible");
    let text = report.to_string();
    for line in [
        "make folder /opt/skiff/1.1.0\n",
        "copy program /opt/skiff/1.1.0/skiff\n",
        "link /opt/skiff/current to 1.1.0 and no longer to 1.0.0\n",
        "+  \"previous\": \"1.0.0\",\n",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    assert!(!text.contains("restart"), "{text}");
    assert_eq!(current(&node), "1.0.0");
}
