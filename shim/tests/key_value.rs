//! Key-value stores as a guest finds them under `skiff run`: through every version of the
//! interface, from several workers, after a kill, and when the file does not work.

mod support;

use std::fs;
use std::path::Path;
use std::thread;

use rusqlite::Connection;
use support::{Running, Skiff};

/// One component for each version, with `grant` in each.
fn application(grant: &str) -> Skiff {
    let component = |guest: &str| {
        let version = guest.trim_start_matches("key-value-");
        format!(
            "[[trigger.http]]\nroute = \"/{version}\"\ncomponent = \"{version}\"\n[component.{version}]\nsource = \"{{guest:{guest}}}\"\n{grant}\n"
        )
    };
    let components: String = GUESTS.map(component).concat();
    Skiff::manifest(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n{components}"
    ))
}

const VERSIONS: [&str; 4] = ["v1", "v2", "p3", "wasi"];

/// Their guests.
const GUESTS: [&str; 4] = [
    "key-value-v1",
    "key-value-v2",
    "key-value-p3",
    "key-value-wasi",
];

const GRANT: &str = "key_value_stores = [\"default\"]";

fn ask(skiff: &Running, path: &str) -> (u16, String) {
    let answer = skiff.get(path);
    (answer.status, answer.text())
}

#[track_caller]
fn finds(skiff: &Running, path: &str, expected: &str) {
    assert_eq!(ask(skiff, path), (200, expected.to_owned()), "{path}");
}

#[test]
fn a_store_is_one_through_every_version_of_the_interface() {
    let skiff = application(GRANT).start();
    for (index, version) in VERSIONS.iter().enumerate() {
        finds(
            &skiff,
            &format!("/{version}?op=set&key={version}&value=of-{version}"),
            "set",
        );
        for other in VERSIONS {
            finds(
                &skiff,
                &format!("/{other}?key={version}"),
                &format!("of-{version}"),
            );
            finds(&skiff, &format!("/{other}?op=exists&key={version}"), "true");
        }
        let mut keys = VERSIONS[..=index].to_vec();
        keys.sort_unstable();
        for other in VERSIONS {
            finds(&skiff, &format!("/{other}?op=keys"), &keys.join(","));
        }
    }
    for version in VERSIONS {
        for _ in 0..2 {
            finds(
                &skiff,
                &format!("/{version}?op=delete&key={version}"),
                "deleted",
            );
        }
        finds(
            &skiff,
            &format!("/{version}?op=exists&key={version}"),
            "false",
        );
        let missing = ask(&skiff, &format!("/{version}?key={version}"));
        match version {
            "v1" => assert_eq!(missing, (500, "Error::NoSuchKey".to_owned())),
            _ => assert_eq!(missing, (200, "none".to_owned())),
        }
    }
}

#[test]
fn batches_and_atomics_do_what_they_say() {
    let skiff = application(GRANT).start();
    finds(&skiff, "/wasi?op=set-many&key=a,b,c&value=1", "set");
    finds(&skiff, "/wasi?op=get-many&key=a,missing,c", "a=1,c=1");
    finds(&skiff, "/wasi?op=delete-many&key=a,c,missing", "deleted");
    finds(&skiff, "/wasi?op=keys", "b");
    for op in ["set-many", "get-many", "delete-many"] {
        assert_eq!(ask(&skiff, &format!("/wasi?op={op}&key=")).0, 200, "{op}");
    }
    finds(&skiff, "/wasi?op=increment&key=n&value=5", "5");
    finds(&skiff, "/wasi?op=increment&key=n&value=-7", "-2");
    let (status, text) = ask(&skiff, "/wasi?op=increment&key=b&value=1");
    assert_eq!(status, 500);
    assert!(
        text.contains("`default`") && text.contains("not a number of 8 bytes"),
        "{text}"
    );
    finds(&skiff, "/wasi?op=swap&key=new&value=first", "swapped");
    finds(
        &skiff,
        "/wasi?op=swap-late&key=new&value=last",
        "swapped after other",
    );
    finds(&skiff, "/wasi?key=new", "last");
    let (status, text) = ask(&skiff, "/wasi?op=cursor");
    assert_eq!(status, 500);
    assert!(text.contains("list_keys: cursor not supported"), "{text}");
}

#[test]
fn a_label_that_is_not_listed_is_denied_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let stores = folder.path().join("stores");
    let skiff = application("").env("SKIFF_STORE_DIR", stores.to_str().unwrap());
    let skiff = skiff.start();
    for version in VERSIONS {
        let (status, text) = ask(&skiff, &format!("/{version}"));
        assert_eq!(
            (status, text.contains("AccessDenied")),
            (500, true),
            "{text}"
        );
    }
    let ended = skiff.stop();
    assert_eq!(
        ended.stderr.matches("nothing grants it").count(),
        4,
        "{}",
        ended.stderr
    );
    // Who uses no store has no folder for it.
    assert!(!stores.exists());
    let skiff = application(GRANT).start();
    let (status, text) = ask(&skiff, "/v2?store=other");
    assert_eq!(
        (status, text.contains("AccessDenied")),
        (500, true),
        "{text}"
    );
}

#[test]
fn a_store_that_was_closed_is_a_trap_in_the_first_version() {
    let skiff = application(GRANT).start();
    assert_eq!(skiff.get("/v1?closed=1").status, 500);
    assert_eq!(skiff.get("/v1?op=exists").text(), "false");
}

#[test]
fn the_default_store_lies_beside_the_manifest() {
    let skiff = application(GRANT);
    let file = skiff.folder().join(".skiff/key_value.db");
    let skiff = skiff.start();
    assert!(!file.exists(), "nothing is opened before it is used");
    finds(&skiff, "/v2?op=set", "set");
    assert!(file.exists());
}

#[test]
fn all_workers_count_in_one_store() {
    let skiff = application(GRANT).env("SKIFF_WORKERS", "4").start();
    let each = 25;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..each {
                    let (status, text) = ask(&skiff, "/wasi?op=increment&key=n&value=1");
                    assert_eq!(status, 200, "{text}");
                }
            });
        }
    });
    finds(
        &skiff,
        "/wasi?op=increment&key=n&value=0",
        &format!("{}", 8 * each),
    );
}

#[test]
fn what_was_acknowledged_survives_a_kill_of_every_process() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let skiff = application(GRANT).env("SKIFF_STORE_DIR", folder.path().to_str().unwrap());
        skiff.env("SKIFF_WORKERS", "2").start()
    };
    let skiff = start();
    let acknowledged: Vec<usize> = thread::scope(|scope| {
        let writers = (0..4).map(|writer| {
            let skiff = &skiff;
            scope.spawn(move || {
                let set = |n: &usize| {
                    let path = format!("/v2?op=set&key={writer}&value={n}");
                    skiff.get(&path).text() == "set"
                };
                (1..).take_while(set).last().unwrap_or(0)
            })
        });
        let writers: Vec<_> = writers.collect();
        while !Path::new(&folder.path().join("key_value.db")).exists() {
            thread::yield_now();
        }
        finds(&skiff, "/v2?op=set&key=before&value=kill", "set");
        skiff.signal(libc::SIGKILL);
        writers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    drop(skiff);
    let skiff = start();
    finds(&skiff, "/v2?key=before", "kill");
    for (writer, last) in acknowledged.into_iter().enumerate() {
        let found = skiff.get(&format!("/v2?key={writer}")).text();
        let found: usize = found.parse().unwrap_or(0);
        // One more may have been written that nobody was told of.
        assert!(
            (last..=last + 1).contains(&found),
            "{found} instead of {last}"
        );
    }
}

/// An application with its store in a folder of the test.
fn in_folder(folder: &Path) -> Running {
    let skiff = application(GRANT).env("SKIFF_STORE_DIR", folder.to_str().unwrap());
    skiff.env("SKIFF_STORE_TIMEOUT", "300ms").start()
}

/// The guest's error names the store and its file, and the operator has a line.
#[track_caller]
fn fails(skiff: Running, path: &str, file: &Path, reason: &str) {
    let (status, text) = ask(&skiff, path);
    assert_eq!(status, 500, "{text}");
    for part in ["`default`", &format!("`{}`", file.display()), reason] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // Everything else goes on.
    assert_eq!(skiff.get(support::HEALTH).status, 200);
    let stderr = skiff.stop().stderr;
    assert!(
        stderr.contains("A key-value store does not work"),
        "{stderr}"
    );
    assert!(stderr.contains(reason), "{stderr}");
}

#[test]
fn a_file_that_is_no_database_is_told_to_guest_and_operator() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key_value.db");
    fs::write(
        &file,
        "this is not a database, and it is long enough to see that",
    )
    .unwrap();
    for op in ["get", "set", "keys", "exists"] {
        let path = format!("/v2?op={op}");
        fails(in_folder(folder.path()), &path, &file, "not a database");
    }
}

#[test]
fn a_lock_that_another_process_holds_is_waited_for_with_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key_value.db");
    let skiff = in_folder(folder.path());
    finds(&skiff, "/v2?op=set&value=before", "set");
    let other = Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Readers do not wait.
    finds(&skiff, "/v2", "before");
    finds(&skiff, "/v2?op=keys", "key");
    fails(
        skiff,
        "/v2?op=set&value=after",
        &file,
        "locked by another process",
    );
    let skiff = in_folder(folder.path());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&skiff, "/v2?op=set&value=after"));
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(waiting.join().unwrap(), (200, "set".to_owned()));
    });
}

#[test]
fn a_folder_that_cannot_be_made_is_refused_at_the_start() {
    let ended = application(GRANT)
        .env("SKIFF_STORE_DIR", "/proc/none")
        .end();
    assert!(!ended.status.success());
    for part in [
        "`v1`",
        "`default`",
        "`/proc/none`",
        "mount a volume",
        "SKIFF_STORE_DIR",
    ] {
        assert!(
            ended.stderr.contains(part),
            "{part} is not in {}",
            ended.stderr
        );
    }
}

#[test]
fn a_value_of_many_megabytes_comes_back_and_one_that_is_too_large_ends_its_request() {
    let skiff = application(GRANT).start();
    finds(&skiff, "/v2?op=fill&bytes=10000000", "set");
    finds(&skiff, "/v2?op=size", "10000000");
    assert_eq!(skiff.get("/v2?op=fill&bytes=140000000").status, 500);
    finds(&skiff, "/v2?op=size", "10000000");
}

#[test]
fn a_value_is_refused_for_which_a_guests_memory_limit_has_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let run = || application(GRANT).env("SKIFF_STORE_DIR", folder.path().to_str().unwrap());
    let skiff = run().start();
    finds(&skiff, "/v2?op=fill&bytes=10000000", "set");
    skiff.stop();
    let skiff = run().env("SKIFF_MAX_INSTANCE_MEMORY", "8Mi").start();
    for version in VERSIONS {
        let (status, text) = ask(&skiff, &format!("/{version}"));
        assert_eq!(status, 500, "{version}: {text}");
        let why = "all that the guest's memory limit leaves at this moment";
        assert!(text.contains(why), "{version}: {text}");
        finds(
            &skiff,
            &format!("/{version}?op=set&key=small&value=v"),
            "set",
        );
        finds(&skiff, &format!("/{version}?key=small"), "v");
    }
}

/// A server of Redis that ends with the test.
struct Redis {
    child: std::process::Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let child = std::process::Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
            ])
            .args(["--requirepass", "hunter2", "--dir"])
            .arg(folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::yield_now();
        }
        Redis {
            child,
            port,
            _folder: folder,
        }
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn stores_are_where_the_runtime_configuration_says() {
    let mut redis = Redis::start();
    let labels = "key_value_stores = [\"default\", \"file\", \"memory\", \"cache\"]";
    let skiff = application(labels).file(
        "conf/runtime-config.toml",
        &format!(
            "state_dir = \"\"\n[key_value_store.file]\ntype = \"spin\"\npath = \"own/store.db\"\n[key_value_store.memory]\ntype = \"spin\"\n[key_value_store.cache]\ntype = \"redis\"\nurl = \"redis://:hunter2@127.0.0.1:{}\"\n",
            redis.port
        ),
    );
    let folder = skiff.folder().to_owned();
    let config = folder.join("conf/runtime-config.toml");
    let skiff = skiff.args(&["--runtime-config-file", config.to_str().unwrap()]);
    let skiff = skiff.env("SKIFF_WORKERS", "4").start();
    for label in ["default", "file", "memory", "cache"] {
        finds(
            &skiff,
            &format!("/v2?store={label}&op=set&value={label}"),
            "set",
        );
        // In whichever worker.
        for version in ["v2", "p3", "wasi"].repeat(4) {
            finds(&skiff, &format!("/{version}?store={label}"), label);
        }
        finds(
            &skiff,
            &format!("/wasi?store={label}&op=increment&key=n&value=2"),
            "2",
        );
    }
    assert!(folder.join("conf/own/store.db").exists());
    assert!(folder.join(".skiff/key_value.db").exists());
    redis.end();
    let (status, text) = ask(&skiff, "/v2?store=cache");
    assert_eq!(status, 500);
    assert!(text.contains("`cache` at `redis://127.0.0.1"), "{text}");
    finds(&skiff, "/v2?store=file", "file");
    let stderr = skiff.stop().stderr;
    assert!(
        stderr.contains("A key-value store does not work"),
        "{stderr}"
    );
    assert!(
        !text.contains("hunter2") && !stderr.contains("hunter2"),
        "{stderr}"
    );
}

#[test]
fn a_type_that_is_not_offered_is_refused_at_the_start() {
    let config =
        "[key_value_store.default]\ntype = \"aws_dynamo\"\nregion = \"r\"\ntable = \"t\"\n";
    let skiff = application(GRANT).file("runtime-config.toml", config);
    let config = skiff.folder().join("runtime-config.toml");
    let skiff = skiff.args(&["--runtime-config-file", config.to_str().unwrap()]);
    let ended = skiff.end();
    assert!(!ended.status.success());
    for part in [
        "`v1`",
        "key-value store `default`",
        "`aws_dynamo`",
        "does not offer",
    ] {
        assert!(
            ended.stderr.contains(part),
            "{part} is not in {}",
            ended.stderr
        );
    }
}
