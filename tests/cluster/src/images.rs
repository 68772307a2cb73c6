//! The images of the cluster: what its registry offers, under the names that manifests
//! use.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use skiff_suite::apps::{self, App};
use skiff_test_support::oci::{self, Image};
use skiff_test_support::{paths, tools};

use crate::registry::Registry;

/// The pause container, which holds the namespaces of a pod.
pub(crate) const PAUSE: &str = "registry.k8s.io/pause:3.10";
/// A native server to compare figures with: it serves at the address in its argument and
/// ends at once on SIGTERM.
pub(crate) const NATIVE: &str = "registry.test/native:1";
/// The program of the suite's Linux containers: serve, print, grow, end.
pub(crate) const HANDYMAN: &str = "registry.test/handyman:1";
/// A shell and its tools.
pub(crate) const BUSYBOX: &str = "docker.io/library/busybox:1.36.1";
/// The version under test: that of the chart.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A later version.
pub(crate) const NEXT: &str = "99.0.0";
/// A version whose shim does not work.
pub(crate) const BROKEN: &str = "99.1.0";

/// The version that samples are tagged with.
const SAMPLES: &str = VERSION;

/// The image of a sample application.
fn sample(name: &str) -> String {
    format!("ghcr.io/skiff-dev/samples/{name}:{SAMPLES}")
}

/// Offers the shared images: pause, the programs of Linux containers, every sample, and
/// the installer if it was built.
///
/// # Errors
///
/// When one cannot be made; the error says what to build.
pub(crate) fn offer_all(registry: &Registry, scratch: &Path) -> anyhow::Result<()> {
    let static_programs = [
        (PAUSE, tools::pause()?, "pause"),
        (
            NATIVE,
            paths::profile_dir().join("skiff-bench-native"),
            "native",
        ),
        (
            HANDYMAN,
            paths::profile_dir().join("suite-native"),
            "native",
        ),
    ];
    for (number, (name, program, inside)) in static_programs.into_iter().enumerate() {
        let image = Image::linux()
            .copy(&program, inside, 0o755)
            .context("run `make build` first")?
            .entrypoint(&[&format!("/{inside}")]);
        let layout = image.write(scratch.join(format!("program-{number}")))?;
        registry.offer(name, layout.folder());
    }
    let shell = busybox()?.write(scratch.join("busybox"))?;
    registry.offer(BUSYBOX, shell.folder());

    let built = paths::target_dir().join("images");
    for entry in std::fs::read_dir(&built).context("run `make images` first")? {
        let folder = entry?.path();
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if folder.join("spin.toml").exists() {
            let layout = apps::push(&folder, &scratch.join(format!("sample-{name}")))?;
            registry.offer(&sample(name), layout.folder());
        } else if folder.join("index.json").exists() && name != "installer" {
            // Everything else was built as a layout.
            registry.offer(&sample(name), folder);
        }
    }
    Ok(())
}

/// Offers the installer's images, made as for a release: the version under test, a later
/// one, and one whose shim does not work.
///
/// # Errors
///
/// When one cannot be made.
pub(crate) fn offer_installers(
    registry: &Registry,
    scratch: &Path,
    skiff: &Path,
) -> anyhow::Result<()> {
    let built = paths::profile_dir();
    let useless = built.join("suite-native");
    for (version, program) in [(VERSION, skiff), (NEXT, skiff), (BROKEN, useless.as_path())] {
        let binaries = binaries(scratch, version);
        std::fs::create_dir_all(&binaries)?;
        std::os::unix::fs::symlink(program, binaries.join("skiff"))?;
        let installer = built.join("skiff-installer");
        std::os::unix::fs::symlink(installer, binaries.join("skiff-installer"))?;
        let layout = scratch.join(format!("installer-{version}-layout"));
        let args = ["image", "--version", version, "--platform"];
        release(&args, &binaries, &layout)?;
        registry.offer(&format!("ghcr.io/skiff-dev/installer:{version}"), layout);
    }
    Ok(())
}

/// Packs the version under test as a release ships it for a node. The installers have to be
/// offered already.
///
/// # Errors
///
/// When it cannot be packed.
pub(crate) fn pack_release(scratch: &Path) -> anyhow::Result<PathBuf> {
    let archive = scratch.join("release.tar.gz");
    release(&["archive"], &binaries(scratch, VERSION), &archive)?;
    Ok(archive)
}

/// The program of the version under test. The installers have to be offered already.
pub(crate) fn program(scratch: &Path) -> PathBuf {
    binaries(scratch, VERSION).join("skiff")
}

/// The folder of a version's programs.
fn binaries(scratch: &Path, version: &str) -> PathBuf {
    scratch.join(format!("installer-{version}"))
}

/// Makes an archive or image of programs with the release's own tool.
fn release(args: &[&str], binaries: &Path, out: &Path) -> anyhow::Result<()> {
    let mut release = Command::new(paths::profile_dir().join("release"));
    release.args(args).arg(binaries).arg("--out").arg(out);
    let done = release.output().context("run `make build` first")?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success(),
        "release {}: {stderr}",
        args.join(" ")
    );
    Ok(())
}

/// Offers a guest of `tests/guests`, as a Spin application, and returns its image
/// reference.
///
/// # Errors
///
/// When it was not built, or cannot be packed.
pub(crate) fn offer_guest(
    registry: &Registry,
    scratch: &Path,
    name: &str,
) -> anyhow::Result<String> {
    let image = format!("registry.test/guests/{name}:1");
    registry.offer_once(&image, || pack_app(scratch, &image, &App::of_guest(name)?))
}

/// Offers a command guest, as an image whose entrypoint is a component. Its platform is
/// the node's: containerd 2 pulls an image of plain layers for `wasi/wasm`, but does not
/// unpack it.
///
/// # Errors
///
/// When it was not built.
pub(crate) fn offer_command(
    registry: &Registry,
    scratch: &Path,
    name: &str,
) -> anyhow::Result<String> {
    let image = format!("registry.test/commands/{name}:1");
    registry.offer_once(&image, || {
        let layout = Image::linux()
            .copy(&paths::guest(name), "app.wasm", 0o644)
            .context("run `make images` first")?
            .entrypoint(&["/app.wasm"])
            .write(scratch.join(format!("command-{name}")))?;
        Ok(layout.folder().to_owned())
    })
}

/// Offers a guest as a Wasm package: only one component.
///
/// # Errors
///
/// When it was not built.
pub(crate) fn offer_package(
    registry: &Registry,
    scratch: &Path,
    name: &str,
) -> anyhow::Result<String> {
    let image = format!("registry.test/packages/{name}:1");
    registry.offer_once(&image, || {
        let wasm = std::fs::read(paths::guest(name)).context("run `make images` first")?;
        let layout = oci::wasm_package(&wasm, scratch.join(format!("package-{name}")))?;
        Ok(layout.folder().to_owned())
    })
}

/// Offers an application under a full name.
///
/// # Errors
///
/// When it cannot be packed.
pub(crate) fn offer_app(
    registry: &Registry,
    scratch: &Path,
    image: &str,
    app: &App,
) -> anyhow::Result<()> {
    registry.offer(image, pack_app(scratch, image, app)?);
    Ok(())
}

fn pack_app(scratch: &Path, image: &str, app: &App) -> anyhow::Result<PathBuf> {
    let folder = scratch.join(image.replace(['/', ':'], "_"));
    app.write(&folder.join("app"))?;
    let layout = apps::push(&folder.join("app"), &folder.join("layout"))?;
    Ok(layout.folder().to_owned())
}

/// Debian's static busybox with a name for each of its tools that the
/// deployments use.
pub(crate) fn busybox() -> anyhow::Result<Image> {
    const TOOLS: [&str; 19] = [
        "sh",
        "sleep",
        "wget",
        "cat",
        "echo",
        "nslookup",
        "nc",
        "ls",
        "true",
        "false",
        "test",
        "date",
        // The image that installs a shim on a node.
        "cp",
        "httpd",
        "md5sum",
        "mkdir",
        "nsenter",
        "sha256sum",
        "tar",
    ];
    let program = Path::new("/bin/busybox");
    let mut image = Image::linux()
        .copy(program, "bin/busybox", 0o755)
        .context("run `tests/setup --cluster` first")?;
    for tool in TOOLS {
        // Our layers have no links; a line of shell does the same.
        let line = format!("#!/bin/busybox sh\nexec /bin/busybox {tool} \"$@\"\n");
        image = match tool {
            "sh" => image.copy(program, "bin/sh", 0o755)?,
            _ => image.file(&format!("bin/{tool}"), 0o755, line),
        };
    }
    Ok(image
        .file("tmp/.keep", 0o644, "")
        .file("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\n")
        .env("PATH", "/bin"))
}

/// Adds programs of this machine with their shared libraries.
///
/// # Errors
///
/// When one is missing.
pub(crate) fn with_programs(mut image: Image, programs: &[&str]) -> anyhow::Result<Image> {
    let done = Command::new("ldd").args(programs).output()?;
    let told = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success(), "ldd {}: {told}", programs.join(" "));
    // `NAME => /PATH (0xADDRESS)`, or the path alone; a program is followed by a colon.
    let words = told.split_whitespace();
    let libraries: BTreeSet<_> = words
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .collect();
    for file in programs.iter().copied().chain(libraries) {
        image = image.copy(Path::new(file), file.trim_start_matches('/'), 0o755)?;
    }
    Ok(image)
}
