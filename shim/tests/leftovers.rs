//! What `skiff run` leaves behind: only things that the next run removes, no running
//! process, and an exit code that shows whose fault a full disk is.

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use skiff_artifact::Digest;
use support::{Skiff, guest, root};

/// Longer than any test takes, so that a hang fails.
const PATIENCE: Duration = Duration::from_secs(120);

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn temporary_folders_of_killed_runs_are_removed_and_those_of_others_stay() {
    let parent = tempfile::tempdir().unwrap();
    let names = || -> Vec<PathBuf> {
        let entries = fs::read_dir(parent.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let run = || Skiff::component("hello").env("TMPDIR", parent.path().to_str().unwrap());
    let mut killed = run().start();
    let left = names();
    assert_eq!(left.len(), 1, "{left:?}");
    killed.signal(libc::SIGKILL);
    killed.wait();
    assert_eq!(names(), left);
    let others = run().start();
    let [theirs] = names().try_into().unwrap();
    assert_ne!(theirs, left[0]);
    let third = run().start();
    assert!(theirs.exists());
    third.stop();
    assert_eq!(names(), [theirs]);
    others.stop();
    assert_eq!(names(), [""; 0].map(PathBuf::from));
}

/// The folders of stores in memory that a process has open.
fn stores_in_memory_of(process: u32) -> Vec<PathBuf> {
    let open = fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .flatten();
    let links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    let memory = Path::new("/dev/shm");
    let stores = links.filter(|path| path.parent() == Some(memory) && path.is_dir());
    stores.collect()
}

#[test]
fn a_store_in_memory_of_a_killed_run_is_gone_with_the_next_start() {
    let run = || {
        let skiff = Skiff::manifest(
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n[component.a]\nsource = \"{guest:key-value-v2}\"\nkey_value_stores = [\"default\"]\n",
        );
        let file = "[key_value_store.default]\ntype = \"spin\"\n";
        let skiff = skiff.file("memory.toml", file).env("SKIFF_WORKERS", "3");
        let file = skiff.folder().join("memory.toml");
        skiff
            .args(&["--runtime-config-file", file.to_str().unwrap()])
            .start()
    };
    let mut killed = run();
    assert_eq!(killed.get("/?op=set&key=k&value=v").status, 200);
    let [left] = stores_in_memory_of(killed.id()).try_into().unwrap();
    killed.signal(libc::SIGKILL);
    killed.wait();
    let next = run();
    assert!(!left.exists(), "{}", left.display());
    let [own] = stores_in_memory_of(next.id()).try_into().unwrap();
    let third = run();
    // It is in use.
    assert!(own.exists());
    third.stop();
    next.stop();
    assert!(!own.exists(), "{}", own.display());
}

#[test]
fn a_temporary_folder_that_cannot_be_made_is_the_nodes_fault() {
    let parent = tempfile::tempdir().unwrap();
    let missing = parent.path().join("missing");
    let missing = missing.to_str().unwrap();
    let ended = Skiff::component("hello").env("TMPDIR", missing).end();
    assert_eq!(ended.status.code(), Some(74), "{}", ended.stderr);
    assert!(ended.stderr.contains(missing), "{}", ended.stderr);
}

/// The optimiser that a process has started.
fn optimizer_of(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.find(|number: &u32| {
        let is_child = fs::read_to_string(format!("/proc/{number}/stat"))
            .ok()
            .and_then(|stat| {
                Some(stat.rsplit(") ").next()?.split(' ').nth(1)?.parse() == Ok(parent))
            });
        let arguments = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        is_child == Some(true) && arguments == b"skiff\0internal\0optimize\0"
    })
}

fn lives(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    // A process that has ended but was not waited for counts as gone.
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn the_optimiser_ends_with_its_application_however_that_ends() {
    let component = root().join("target/images/hello-js/app.wasm");
    assert!(component.exists(), "run `make images`");
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let cache = tempfile::tempdir().unwrap();
        let mut running = Skiff::of(&component)
            .env("SKIFF_CACHE_DIR", cache.path().to_str().unwrap())
            .start();
        let optimizer = optimizer_of(running.id()).expect("an optimiser");
        let tries = || {
            let names = fs::read_dir(cache.path()).unwrap().flatten();
            let names = names.map(|entry| entry.file_name().into_string().unwrap());
            names.filter(|name| name.ends_with(".tries")).count()
        };
        wait_until("the note of a try", || tries() == 1);
        running.signal(signal);
        running.wait();
        wait_until("the optimiser's end", || !lives(optimizer));
        // The end of its application does not count against the component.
        assert_eq!(tries(), 0, "{signal}");
    }
}

#[test]
fn the_kernel_ends_what_prepares_and_optimises_before_others() {
    for verb in ["prepare", "optimize"] {
        let mut process = Command::new(env!("CARGO_BIN_EXE_skiff"))
            .args(["internal", verb])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It waits for its request.
        let score = format!("/proc/{}/oom_score_adj", process.id());
        wait_until(&format!("the score of `{verb}`"), || {
            fs::read_to_string(&score).unwrap() == "1000\n"
        });
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

#[test]
fn a_component_that_was_given_up_is_not_tried_again() {
    let component = root().join("target/images/hello-js/app.wasm");
    let cache = tempfile::tempdir().unwrap();
    let run = || {
        Skiff::of(&component)
            .env("SKIFF_CACHE_DIR", cache.path().to_str().unwrap())
            .start()
    };
    let note = || {
        let names = fs::read_dir(cache.path()).unwrap().flatten();
        let mut paths = names.map(|entry| entry.path());
        paths.find(|path| path.extension().is_some_and(|ending| ending == "tries"))
    };
    let mut first = run();
    wait_until("the note of a try", || note().is_some());
    let note = note().unwrap();
    first.signal(libc::SIGKILL);
    first.wait();
    wait_until("the end of the try", || !note.exists());
    // The state after three tries that ended midway, or one that took too long.
    fs::write(&note, "3").unwrap();
    let second = run();
    assert_eq!(second.get("/").status, 200);
    assert_eq!(optimizer_of(second.id()), None);
    second.stop();
}

#[test]
fn a_component_that_takes_too_long_is_given_up_and_not_tried_again() {
    let component = root().join("target/images/hello-js/app.wasm");
    assert!(component.exists(), "run `make images`");
    let digest = Digest::of(&fs::read(&component).unwrap()).to_string();
    let cache = tempfile::tempdir().unwrap();
    let optimize = |seconds: u64| {
        let request = json!({
            "components": [{
                "id": "slow",
                "wasm": component,
                "digest": digest,
                "dependencies": [],
            }],
            "stack": 1 << 20,
            "cache": cache.path(),
            "cache_limit": u64::MAX,
            "deadline": {
                "least": { "secs": seconds, "nanos": 1 },
                "per_mib": { "secs": 0, "nanos": 0 },
            },
        });
        let mut process = Command::new(env!("CARGO_BIN_EXE_skiff"))
            .args(["internal", "optimize"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let owner = process.stdin.as_mut().unwrap();
        owner.write_all(format!("{request}\n").as_bytes()).unwrap();
        // Its input is open, so it can only end for this reason.
        wait_until("its end", || process.try_wait().unwrap().is_some());
        assert!(process.wait().unwrap().success());
    };
    let kept = |ending: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(cache.path()).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|other| other == ending));
        paths
    };
    optimize(0);
    let [note] = kept("tries").try_into().unwrap();
    assert_eq!(fs::read_to_string(&note).unwrap(), "3");
    // Now it would have enough time.
    optimize(3600);
    assert_eq!(kept("native"), [""; 0].map(PathBuf::from));
    assert_eq!(kept("tries"), [note]);
}

#[test]
fn an_application_of_hundreds_of_components_starts() {
    let mut text = "spin_manifest_version = 2\n[application]\nname = \"many\"\n".to_owned();
    for number in 0..700 {
        text += &format!(
            "[[trigger.http]]\nroute = \"/{number}\"\ncomponent = \"part-n{number}\"\n[component.part-n{number}]\nsource = \"hello.wasm\"\n"
        );
    }
    let skiff = Skiff::manifest(&text);
    fs::copy(guest("hello"), skiff.folder().join("hello.wasm")).unwrap();
    let running = skiff.env("SKIFF_WORKERS", "1").start();
    for number in [0, 699] {
        assert_eq!(running.get(&format!("/{number}")).status, 200);
    }
    running.stop();
}

/// Runs `skiff run` with `folder` as a separate file system, mounted with `options`.
fn on_a_file_system(folder: &Path, options: &str, application: &Path, names: &[&str]) -> Output {
    let script = r#"mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@""#;
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--mount", "sh", "-c", script, "sh", options])
        .arg(folder)
        .arg(env!("CARGO_BIN_EXE_skiff"))
        .arg("run")
        .arg(application)
        .env("SKIFF_HTTP_LISTEN_ADDR", "127.0.0.1:0")
        .stdin(Stdio::null())
        .process_group(0);
    for name in names {
        command.env(name, folder);
    }
    command.output().unwrap()
}

#[track_caller]
fn the_nodes_fault(output: &Output, place: &Path) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(74), "{stderr}");
    assert!(stderr.contains(place.to_str().unwrap()), "{stderr}");
}

#[test]
fn a_full_or_read_only_cache_is_the_nodes_fault() {
    let folder = tempfile::tempdir().unwrap();
    for options in ["mode=755,size=16k", "mode=755,ro"] {
        let output = on_a_file_system(
            folder.path(),
            options,
            &guest("hello"),
            &["SKIFF_CACHE_DIR"],
        );
        the_nodes_fault(&output, folder.path());
    }
}

#[test]
fn a_full_or_read_only_temporary_folder_is_the_nodes_fault() {
    let folder = tempfile::tempdir().unwrap();
    let application = tempfile::tempdir().unwrap();
    fs::copy(guest("hello"), application.path().join("hello.wasm")).unwrap();
    fs::write(application.path().join("large"), [7; 100_000]).unwrap();
    let manifest = "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"web\"\n[component.web]\nsource = \"hello.wasm\"\nfiles = [\"large\"]\n";
    fs::write(application.path().join("spin.toml"), manifest).unwrap();
    for options in ["mode=755,size=16k", "mode=755,ro"] {
        let output = on_a_file_system(folder.path(), options, application.path(), &["TMPDIR"]);
        the_nodes_fault(&output, folder.path());
    }
}
