//! A node without a machine: a folder as its root, and a fake containerd that reads
//! configurations.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod containerd;
pub(crate) mod real;
pub(crate) mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_installer::host::Host;
use skiff_installer::install::{Installer, Limits};
use skiff_installer::payload::Payload;

use containerd::FakeContainerd;

/// Short, for tests that wait for what never comes.
pub(crate) const LIMITS: Limits = Limits {
    restarted_within: Duration::from_millis(60),
    back_within: Duration::from_millis(60),
    seen_within: Duration::from_millis(20),
    again: Duration::from_millis(5),
};

/// A node in its own folder.
pub(crate) struct TestNode {
    folder: tempfile::TempDir,
    pub(crate) host: Host,
    pub(crate) containerd: FakeContainerd,
}

impl TestNode {
    /// A copy of this root, with a containerd of that version.
    pub(crate) fn copy_of(root: &Path, version: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("root");
        tree::copy(root, &copy);
        let host = Host::new(copy);
        let containerd = FakeContainerd::start(&host, version);
        Self {
            folder,
            host,
            containerd,
        }
    }

    /// A node of that fixture.
    pub(crate) fn of_fixture(name: &str, version: &str) -> Self {
        Self::copy_of(&fixtures().join(name).join("before"), version)
    }

    pub(crate) fn installer(&self) -> Installer<'_, FakeContainerd> {
        Installer::new(&self.host, &self.containerd, LIMITS)
    }

    /// An installer's image of that version.
    pub(crate) fn payload(&self, version: &str) -> Payload {
        let folder = self.folder.path().join("payload").join(version);
        fs::create_dir_all(&folder).expect("made");
        fs::write(
            folder.join("skiff"),
            format!("Stands for skiff {version}.\n"),
        )
        .expect("written");
        fs::write(folder.join("version"), format!("{version}\n")).expect("written");
        Payload::open(folder).expect("whole")
    }

    /// A path of the node.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.host.root().join(path.trim_start_matches('/'))
    }

    /// Everything in its root.
    pub(crate) fn tree(&self) -> tree::Tree {
        tree::Tree::of(self.host.root())
    }

    /// Starts a process of the node that runs this program.
    pub(crate) fn run(&self, pid: u32, program: &str) {
        let folder = self.path("/proc").join(pid.to_string());
        fs::create_dir_all(&folder).expect("made");
        std::os::unix::fs::symlink(self.path(program), folder.join("exe")).expect("linked");
    }

    /// Ends it.
    pub(crate) fn end(&self, pid: u32) {
        fs::remove_dir_all(self.path("/proc").join(pid.to_string())).expect("removed");
    }
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/nodes")
}
