//! Misleading configurations, read by the real containerds: how the installer handles
//! them, and that the page on setting up a node by hand breaks none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use skiff_installer::cri::CriError;
use skiff_installer::dump::{Dump, DumpError};
use skiff_installer::host::Host;
use skiff_installer::layouts::{Layout, Service};
use skiff_installer::node::{self, Node, RestartError};
use skiff_installer::target::{Change, Configuration, TargetError};
use skiff_test_support::tools::{self, Version};
use toml::{Table, Value};

const MAIN: &str = "/etc/containerd/config.toml";
const DROP_IN: &str = "/etc/containerd/conf.d/skiff.toml";
const PAGE: &str = include_str!("../../../docs/node-by-hand.md");

/// runtimes.nvidia as each containerd series spells it.
const OLD: &str = r#"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
SystemdCgroup = true
"#;
const NEW: &str = r#"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
"#;

/// A root folder with a configuration, and a real containerd that reads it there.
struct Real {
    root: tempfile::TempDir,
    program: PathBuf,
}

impl Real {
    fn new(version: Version, main: Option<&str>) -> Self {
        let folder = tools::containerd(version).expect("`make tools` builds it");
        let root = tempfile::tempdir().expect("a folder");
        for folder in ["etc/containerd/conf.d", "usr/bin", "run"] {
            fs::create_dir_all(root.path().join(folder)).expect("made");
        }
        fs::write(root.path().join("usr/bin/containerd"), "a program").expect("written");
        let real = Self {
            root,
            program: folder.join("containerd"),
        };
        if let Some(text) = main {
            real.write(MAIN, text);
        }
        real
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path.trim_start_matches('/'));
        fs::write(path, text).expect("written");
    }

    fn host(&self) -> Host {
        Host::new(self.root.path())
    }

    fn install(&self) -> Result<Change, TargetError> {
        let host = self.host();
        let layout = Layout::detect(&host).expect("a node with systemd");
        let change = Configuration::new(&host, self, layout).install()?;
        change.plan.run(&host).expect("written");
        Ok(change)
    }

    #[track_caller]
    fn refused(&self) -> String {
        let error = self.install().expect_err("it is not refused");
        error.to_string()
    }

    /// The configured runtimes.
    fn runtimes(&self) -> Vec<String> {
        let dump = self.shown();
        let names = ["nvidia", "runc", "skiff"].into_iter();
        names
            .filter(|name| dump.has(name))
            .map(str::to_owned)
            .collect()
    }

    fn shown(&self) -> Dump {
        let host = self.host();
        let main = host.exists(MAIN).then_some(Path::new(MAIN));
        let text = self.dump(&host, &self.program, main).expect("a dump");
        Dump::parse(&text, &self.program).expect("TOML")
    }
}

impl Node for Real {
    fn dump(&self, host: &Host, _: &Path, config: Option<&Path>) -> Result<String, DumpError> {
        let Some(config) = config else {
            return node::dump(Command::new(&self.program), &self.program, None);
        };
        // containerd runs outside the root, so its imports are named from there.
        let located = host.locate(config).expect("no circle");
        let text = fs::read_to_string(&located).expect("there");
        let mut table: Table = toml::from_str(&text).expect("TOML");
        if let Some(Value::Array(imports)) = table.get_mut("imports") {
            for import in imports {
                let path = import.as_str().expect("text");
                if let Some(path) = path.strip_prefix('/') {
                    let path = self.root.path().join(path);
                    *import = Value::from(path.to_string_lossy().into_owned());
                }
            }
        }
        let shown = located.with_extension("shown");
        fs::write(&shown, toml::to_string(&table).expect("TOML")).expect("written");
        let dumped = node::dump(Command::new(&self.program), &self.program, Some(&shown));
        fs::remove_file(&shown).expect("removed");
        dumped
    }

    fn restart(&self, _: &Host, _: Service, _: Duration) -> Result<(), RestartError> {
        Ok(())
    }

    fn handlers(&self, _: &Host, _: &Path) -> Result<Vec<String>, CriError> {
        Err(CriError::TooLate)
    }
}

/// The blocks of the page, one after the other.
fn block(number: usize) -> &'static str {
    let blocks = PAGE.split("```toml\n").skip(1);
    let mut blocks = blocks.map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.nth(number).expect("a block")
}

#[test]
fn a_runtime_in_either_spelling_stays_beside_ours() {
    for main in [
        format!("version = 2\n{OLD}"),
        format!("version = 3\n{OLD}"),
        format!("version = 2\n{NEW}"),
        format!("version = 3\n{NEW}"),
        format!("version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n{OLD}"),
    ] {
        let node = Real::new(Version::V2, Some(&main));
        node.install()
            .unwrap_or_else(|error| panic!("{error}: {main}"));
        assert_eq!(node.runtimes(), ["nvidia", "runc", "skiff"], "{main}");
    }
}

#[test]
fn a_runtime_alone_leaves_runc_with_containerd_1() {
    for main in [
        None,
        Some("version = 2\n"),
        Some(&*format!("version = 2\n{OLD}")),
    ] {
        let node = Real::new(Version::V1_7, main);
        let before = node.runtimes();
        node.install().expect("installed");
        let with = [&before[..], &["skiff".to_owned()]].concat();
        assert_eq!(node.runtimes(), with, "{main:?}");
    }
}

#[test]
fn two_spellings_in_one_file_are_told_before_a_restart() {
    let ours = NEW
        .replace("nvidia", "skiff")
        .replace("runc.v2", "skiff.v1");
    let node = Real::new(Version::V2, Some(&format!("version = 2\n{OLD}{ours}")));
    // What the real containerd does with it: the reason for this check.
    assert_eq!(node.runtimes(), ["runc", "skiff"]);
    let error = node.refused();
    for part in [MAIN, "two spellings", "at line 3", "at line 8"] {
        assert!(error.contains(part), "{error}");
    }
    // The same in an imported file.
    let main = "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n";
    let node = Real::new(Version::V2, Some(main));
    node.write(
        "/etc/containerd/conf.d/gpu.toml",
        &format!("version = 2\n{OLD}{ours}"),
    );
    let error = node.refused();
    assert!(
        error.contains("`/etc/containerd/conf.d/gpu.toml`"),
        "{error}"
    );
}

#[test]
fn what_a_file_of_version_4_has_in_vain_is_told() {
    let main = "version = 4\n[grpc]\naddress = '/run/other.sock'\n";
    let node = Real::new(Version::V2, Some(main));
    let change = node.install().expect("installed");
    assert_eq!(change.socket, Path::new("/run/containerd/containerd.sock"));
    let [note] = &change.notes[..] else {
        panic!("{:?}", change.notes);
    };
    for part in [
        MAIN,
        "`[grpc]` at line 2",
        "/run/containerd/containerd.sock",
    ] {
        assert!(note.contains(part), "{note}");
    }
    // In a file of version 3 it counts.
    let node = Real::new(Version::V2, Some(&main.replace('4', "3")));
    let change = node.install().expect("installed");
    assert_eq!(change.socket, Path::new("/run/other.sock"));
    assert!(change.notes.is_empty(), "{:?}", change.notes);
    let node = Real::new(Version::V2, Some(&format!("version = 4\n{OLD}")));
    let error = node.refused();
    assert!(
        error.contains("runtime `nvidia`") && error.contains(MAIN),
        "{error}"
    );
}

#[test]
fn imports_that_are_not_read_are_told() {
    let node = Real::new(Version::V2, Some("version = 3\n"));
    node.write(
        "/etc/containerd/conf.d/gpu.toml",
        &format!("version = 3\n{NEW}"),
    );
    let change = node.install().expect("installed");
    assert_eq!(node.runtimes(), ["runc", "skiff"]);
    let [note] = &change.notes[..] else {
        panic!("{:?}", change.notes);
    };
    assert!(
        note.contains("`/etc/containerd/conf.d/gpu.toml` is not read"),
        "{note}"
    );
    let main = "version = 3\nimports = ['/etc/containerd/absent.toml']\n";
    for version in Version::ALL {
        let main = match version {
            Version::V2 => main.to_owned(),
            Version::V1_7 => main.replace('3', "2"),
        };
        let error = Real::new(version, Some(&main)).refused();
        assert!(error.contains("/etc/containerd/absent.toml"), "{error}");
    }
}

#[test]
fn the_page_breaks_no_node() {
    let (drop_in, imports, old, options) = (block(0), block(1), block(2), block(3));
    for main in [
        format!("version = 2\n{imports}{OLD}"),
        format!("version = 3\n{imports}{OLD}"),
        format!("version = 3\n{imports}{NEW}"),
        format!("version = 4\n{imports}{NEW}"),
    ] {
        let node = Real::new(Version::V2, Some(&main));
        node.write(DROP_IN, &format!("{drop_in}{options}"));
        assert_eq!(node.runtimes(), ["nvidia", "runc", "skiff"], "{main}");
        let change = node.install().expect("nothing to do");
        assert!(
            change.plan.is_empty() && change.notes.is_empty(),
            "{change:?}"
        );
    }
    let node = Real::new(Version::V2, Some(&format!("version = 3\n{imports}")));
    node.write(DROP_IN, drop_in);
    assert_eq!(node.runtimes(), ["runc", "skiff"]);

    let node = Real::new(Version::V1_7, Some(&format!("version = 2\n{old}")));
    assert_eq!(node.runtimes(), ["runc", "skiff"]);
    // What the page warns about.
    let second = &old[old.rfind("[plugins").expect("two tables")..];
    let node = Real::new(Version::V1_7, Some(&format!("version = 2\n{second}")));
    assert_eq!(node.runtimes(), ["skiff"]);
}
