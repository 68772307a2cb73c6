//! What the node keeps of applications, and what it removes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use skiff_artifact::{Apps, Image, Layout, Limits};
use skiff_test_support::{Pod, processes};

use crate::apps::{App, Kind, push};
use crate::harness::Case;
use crate::node::Node;
use crate::pods::{SOON, Served};

/// The node's folder of unpacked applications. The run has its own `/var/lib`.
const APPS: &str = "/var/lib/skiff/apps";

pub(super) fn cases() -> Vec<Case> {
    crate::cases![
        an_application_that_lost_its_files_is_unpacked_anew,
        what_a_killed_process_left_goes_with_the_next_start,
        the_optimiser_ends_with_its_pod,
        what_is_unpacked_outlives_a_loss_of_power,
    ]
    .into_iter()
    .chain([Case::new(
        "keeping::what_runs_is_not_removed_and_what_has_ended_is",
        what_runs_is_not_removed_and_what_has_ended_is,
    )
    // Concurrent cases would find their applications removed.
    .alone()])
    .collect()
}

fn entries() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(APPS).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Serves a unique file, and returns where it is kept.
async fn with_a_file(node: &Node, name: &str) -> anyhow::Result<(Served, PathBuf)> {
    let app = App::of_guest("read-files")?
        .component("files = [\"a.txt\"]")
        .file("a.txt", name);
    let image = node.app_image(name, Kind::Spin, &app).await?;
    let served = Served::start(node, name, &Kind::Spin.container("app", &image)).await?;
    let file = Path::new("assets/read-files/a.txt");
    let is_ours =
        |app: &PathBuf| fs::read(app.join(file)).is_ok_and(|text| text == name.as_bytes());
    let kept = entries().into_iter().find(is_ours);
    Ok((served, kept.context("the application is not kept")?))
}

async fn an_application_that_lost_its_files_is_unpacked_anew(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let (served, kept) = with_a_file(&node, "lost-files").await?;
    served.end().await?;
    // The state after a power loss and a reboot.
    fs::write(kept.join("assets/read-files/a.txt"), "")?;
    fs::write(kept.join("used"), "another boot")?;
    let (served, _) = with_a_file(&node, "lost-files").await?;
    let text = served.get("/?path=/a.txt").await?.text();
    ensure!(text == "lost-files", "it serves `{text}`");
    served.end().await?;
    Ok(())
}

async fn what_a_killed_process_left_goes_with_the_next_start(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let left = [
        Path::new(APPS).join(".unpack-killed/wasm"),
        Path::new(APPS).join(".gone-killed/wasm"),
    ];
    for path in &left {
        fs::create_dir_all(path)?;
    }
    let new = Path::new(APPS).with_file_name("cache").join(".new-killed");
    let (served, _) = with_a_file(&node, "after-a-kill").await?;
    fs::write(&new, "half of it")?;
    served.end().await?;
    let (served, _) = with_a_file(&node, "after-a-kill").await?;
    // It happens after the start has been answered.
    let until = Instant::now() + SOON;
    while left.iter().chain([&new]).any(|path| path.exists()) {
        ensure!(Instant::now() < until, "leftovers stay: {:?}", entries());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    served.end().await?;
    Ok(())
}

async fn what_runs_is_not_removed_and_what_has_ended_is(node: Arc<Node>) -> anyhow::Result<()> {
    let (served, kept) = with_a_file(&node, "runs-on").await?;
    let (other, gone) = with_a_file(&node, "has-ended").await?;
    other.end().await?;
    let tidied = Apps::new(Path::new(APPS), "").tidy(0)?;
    ensure!(!gone.exists(), "what has ended stays: {tidied:?}");
    ensure!(kept.exists(), "what runs was removed: {tidied:?}");
    let text = served.get("/?path=/a.txt").await?.text();
    ensure!(text == "runs-on", "it serves `{text}`");
    served.end().await?;
    let tidied = Apps::new(Path::new(APPS), "").tidy(0)?;
    ensure!(!kept.exists(), "it stays when it has ended: {tidied:?}");
    Ok(())
}

async fn the_optimiser_ends_with_its_pod(node: Arc<Node>) -> anyhow::Result<()> {
    let optimisers = || {
        let mut found = BTreeSet::new();
        for pid in node.containerd().run().cgroups().processes() {
            let process = processes::look_up(pid);
            if process.is_some_and(|process| process.command.contains("internal optimize")) {
                found.insert(pid);
            }
        }
        found
    };
    let image = node.sample_image(Kind::Package, "hello-python").await?;
    let before = optimisers();
    let pod: Pod = node.cri().run_pod("optimised", "skiff").await?;
    let container = pod.run(&Kind::Package.container("app", &image)).await?;
    let own: BTreeSet<u32> = optimisers().difference(&before).copied().collect();
    container.stop(crate::pods::GRACE).await?;
    pod.remove().await?;
    let until = Instant::now() + SOON;
    while own.iter().any(|pid| optimisers().contains(pid)) {
        ensure!(Instant::now() < until, "{own:?} go on");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A file system in a file, mounted until dropped.
struct Disk {
    file: PathBuf,
    folder: PathBuf,
}

impl Disk {
    fn make(scratch: &Path) -> anyhow::Result<Self> {
        let disk = Disk {
            file: scratch.join("disk"),
            folder: scratch.join("mounted"),
        };
        fs::create_dir(&disk.folder)?;
        fs::File::create(&disk.file)?.set_len(64 << 20)?;
        run("mkfs.ext4", &["-q".as_ref(), disk.file.as_ref()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> anyhow::Result<()> {
        let words: [&OsStr; 4] = [
            "-o".as_ref(),
            "loop".as_ref(),
            self.file.as_ref(),
            self.folder.as_ref(),
        ];
        run("mount", &words)
    }

    /// Stops the file system: what has not been written yet never will be.
    fn lose_power(&self) -> anyhow::Result<()> {
        const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
        let without_the_journal = 2_u32;
        let root = fs::File::open(&self.folder)?;
        // SAFETY: the call only reads a number, which outlives it.
        let done = unsafe {
            libc::ioctl(
                root.as_raw_fd(),
                EXT4_IOC_SHUTDOWN,
                &raw const without_the_journal,
            )
        };
        ensure!(done == 0, "{}", std::io::Error::last_os_error());
        drop(root);
        run("umount", &[self.folder.as_ref()])?;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &[self.folder.as_ref()]).ok();
    }
}

fn run(program: &str, words: &[&OsStr]) -> anyhow::Result<()> {
    let done = Command::new(program).args(words).output();
    let done = done.with_context(|| format!("running {program}"))?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{program}: {stderr}");
    Ok(())
}

async fn what_is_unpacked_outlives_a_loss_of_power(node: Arc<Node>) -> anyhow::Result<()> {
    let scratch = node.scratch("power")?;
    let app = App::of_guest("read-files")?
        .component("files = [\"a.txt\"]")
        .file("a.txt", "written");
    app.write(&scratch.join("app"))?;
    push(&scratch.join("app"), &scratch.join("layout"))?;
    let layout = Layout::open(&scratch.join("layout"))?;
    let image = Image::read(&layout, &layout.manifest(None)?)?;
    let disk = Disk::make(&scratch)?;
    let apps = Apps::new(&disk.folder, "before");
    let held = apps.get(&image, &layout, &Limits::default())?;
    let directory = held.directory().to_owned();
    drop(held);
    // The journal is written, and with it the name of the folder, but not necessarily its
    // files.
    let other = fs::File::create(disk.folder.join("other"))?;
    other.sync_all()?;
    drop(other);
    disk.lose_power()?;
    let text = fs::read_to_string(directory.join("assets/read-files/a.txt"))?;
    ensure!(text == "written", "the file has {text:?}");
    let found = Apps::new(&disk.folder, "after").find(&image.descriptor.digest)?;
    ensure!(found.is_some(), "it does not check out");
    Ok(())
}
