//! Detects a plain Linux container: its first argument names a program.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

use crate::spec::volumes::binds;

/// Where programs are looked for if the container's environment has no `PATH`; the same
/// as in containerd's own runtime.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether the container's first argument names an ELF program or a script in its files.
/// Links that point outside the root are resolved inside it.
pub(crate) fn is_linux(spec: &Spec, rootfs: &Path) -> bool {
    candidates(spec).any(|path| is_program(spec, rootfs, &path))
}

/// The possible paths of the first argument, as seen in the container.
fn candidates(spec: &Spec) -> impl Iterator<Item = PathBuf> {
    let process = spec.process().as_ref();
    let args = process.and_then(|process| process.args().as_deref());
    let name = args
        .and_then(<[String]>::first)
        .filter(|name| !name.is_empty());
    let cwd = process.map_or(Path::new("/"), |process| process.cwd());
    let folders: Vec<&Path> = match name {
        None => Vec::new(),
        Some(name) if name.contains('/') => vec![cwd],
        Some(_) => search_path(spec).split(':').map(Path::new).collect(),
    };
    let name = name.cloned().unwrap_or_default();
    folders
        .into_iter()
        .map(move |folder| cwd.join(folder).join(&name))
}

/// `PATH` of the container.
pub(crate) fn search_path(spec: &Spec) -> &str {
    let environment = spec.process().as_ref().and_then(|p| p.env().as_deref());
    let mut paths = environment
        .unwrap_or_default()
        .iter()
        .filter_map(|variable| variable.strip_prefix("PATH="));
    paths.next_back().unwrap_or(DEFAULT_PATH)
}

fn is_program(spec: &Spec, rootfs: &Path, path: &Path) -> bool {
    // The last mount over a path hides what is below it. Volumes are not mounted yet at
    // this point, so their sources are searched.
    let over = binds(spec)
        .filter_map(|(mount, source)| Some((source, path.strip_prefix(mount.destination()).ok()?)))
        .last();
    match over {
        Some((source, rest)) if rest.as_os_str().is_empty() => {
            let folder = source.parent().unwrap_or(Path::new("/"));
            source
                .file_name()
                .is_some_and(|name| begins_as_program(folder, Path::new(name)))
        }
        Some((source, rest)) => begins_as_program(source, rest),
        None => begins_as_program(rootfs, path),
    }
}

/// Checks the first bytes of an executable file. The kernel resolves its path with `root`
/// as the root.
fn begins_as_program(root: &Path, path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty()) else {
        return false;
    };
    // A pipe in an image must not block the shim, and a device of the node must not be
    // opened.
    let place = OFlags::PATH | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(handle) = openat2(&root, path, place, Mode::empty(), inside) else {
        return false;
    };
    let is_file =
        |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !fstat(&handle).is_ok_and(is_file) {
        return false;
    }
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", handle.as_raw_fd()));
    let Ok(mut file) = opened else {
        return false;
    };
    let executable = file
        .metadata()
        .is_ok_and(|metadata| metadata.mode() & 0o111 != 0);
    let mut magic = [0; 4];
    if !executable || file.read_exact(&mut magic).is_err() {
        return false;
    }
    magic == *b"\x7fELF" || magic.starts_with(b"#!")
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{MountBuilder, ProcessBuilder, SpecBuilder};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Root(tempfile::TempDir);

    impl Root {
        fn new() -> Self {
            Root(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn file(self, path: &str, content: &[u8], mode: u32) -> Self {
            let path = self.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            self
        }

        fn link(self, path: &str, target: &str) -> Self {
            let path = self.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
            self
        }

        fn is_linux(&self, args: &[&str]) -> bool {
            is_linux(&spec(args, "/", None), self.path())
        }
    }

    fn spec(args: &[&str], cwd: &str, volume: Option<(&Path, &str)>) -> Spec {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let process = ProcessBuilder::default()
            .args(args)
            .cwd(cwd)
            .env(vec!["PATH=/bin:/opt".to_owned()])
            .build()
            .unwrap();
        let mounts = volume.map(|(source, destination)| {
            MountBuilder::default()
                .source(source)
                .destination(destination)
                .typ("bind")
                .build()
                .unwrap()
        });
        SpecBuilder::default()
            .process(process)
            .mounts(mounts.into_iter().collect::<Vec<_>>())
            .build()
            .unwrap()
    }

    #[test]
    fn programs_and_scripts_are_linux_containers() {
        let root = Root::new().file("pause", b"\x7fELF and more", 0o755).file(
            "opt/script",
            b"#!/bin/sh",
            0o755,
        );
        assert!(root.is_linux(&["/pause"]));
        assert!(root.is_linux(&["script", "arg"]));
        assert!(is_linux(&spec(&["./script"], "/opt", None), root.path()));
    }

    #[test]
    fn wasm_data_and_nothing_are_no_linux_containers() {
        let root = Root::new()
            .file("app.wasm", b"\0asm\x01\0\0\0", 0o755)
            .file("bin/data", b"\x7fELF not executable", 0o644)
            .file("bin/short", b"#!", 0o755);
        for args in [
            &["/app.wasm"][..],
            &["data"],
            &["short"],
            &["/"],
            &["/missing"],
            &[""],
            &[],
        ] {
            assert!(!root.is_linux(args), "{args:?}");
        }
    }

    #[test]
    fn links_are_followed_as_the_container_would() {
        let root = Root::new()
            .file("lib/busybox", b"\x7fELF", 0o755)
            .link("bin/sh", "/lib/busybox")
            .link("bin/up", "../../../../lib/busybox");
        assert!(root.is_linux(&["sh"]));
        assert!(root.is_linux(&["up"]));
    }

    #[test]
    fn a_link_cannot_leave_the_root() {
        let outside = Root::new().file("program", b"\x7fELF", 0o755);
        let target = outside.path().join("program");
        let root = Root::new()
            .link("absolute", target.to_str().unwrap())
            .link("relative", &format!("../../../../..{}", target.display()))
            .link("magic", "/proc/self/exe");
        for args in [["/absolute"], ["/relative"], ["/magic"]] {
            assert!(!root.is_linux(&args), "{args:?}");
        }
    }

    #[test]
    fn a_fifo_does_not_make_it_wait() {
        let root = Root::new();
        rustix::fs::mknodat(
            CWD,
            root.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from(0o755),
            0,
        )
        .unwrap();
        assert!(!root.is_linux(&["/fifo"]));
    }

    #[test]
    fn a_script_in_a_volume_is_found_before_it_is_mounted() {
        let volume = Root::new().file("run.sh", b"#!/bin/sh", 0o755);
        let root = Root::new();
        let folder = spec(&["/scripts/run.sh"], "/", Some((volume.path(), "/scripts")));
        assert!(is_linux(&folder, root.path()));
        let file = volume.path().join("run.sh");
        let file = spec(&["/start"], "/", Some((&file, "/start")));
        assert!(is_linux(&file, root.path()));
    }
}
