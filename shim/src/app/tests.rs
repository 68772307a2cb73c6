//! Applications in the test process itself, without a separate program: each is given its
//! listener, its outputs and its stop.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skiff_artifact::Prepared;
use skiff_engine::{Cache, Clock, Engines};
use skiff_host::Output;
use skiff_trigger::Triggers;
use skiff_trigger_http::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::*;

/// Longer than any test takes, so that a hang fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

/// A guest built by `make images`, compiled.
fn app(guest: &str, settings: &Settings, given: Given) -> anyhow::Result<App> {
    let file = target().join("guests").join(format!("{guest}.wasm"));
    assert!(file.exists(), "{guest} is missing: run `make images`");
    let prepared = Prepared::from_wasm_file(&file)?;
    let cache = target().join("test-cache-app");
    std::fs::create_dir_all(&cache)?;
    let cache = Cache::open(&cache)?;
    let compiled = prepare(&prepared, settings, &given.setup, &cache, &|| Ok(()))?;
    let checked = Checked::before(&prepared, &compiled.codes, &cache, settings)?;
    App::new(checked, &prepared, cache, settings, given)
}

fn serving(guest: &str, given: Given) -> App {
    let app = app(guest, &Settings::default(), given).unwrap();
    assert_eq!(app.life(), Life::Serve);
    app
}

fn listener() -> Server {
    let http = skiff_trigger_http::Settings::default();
    Server::bind(([127, 0, 0, 1], 0).into(), &http).unwrap()
}

/// Runs a future, with a timeout.
fn run(does: impl Future<Output = ()>) {
    let _clock = Clock::start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let tasks = LocalSet::new();
    let all = async { tokio::time::timeout(PATIENCE, tasks.run_until(does)).await };
    runtime.block_on(all).unwrap();
}

/// An application that is served by a task on this thread.
struct Served {
    address: std::net::SocketAddr,
    stopper: Stopper,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    fn new(app: App, reserved: Reserved, limit: Duration) -> Self {
        let loaded = app.load(reserved).unwrap();
        let server = listener();
        let address = server.local_addr();
        let (stopper, stop) = Stopper::new(limit);
        let triggers = Triggers::of_worker(0);
        let task = async move { app.serve(loaded, server, triggers, stop).await };
        Served {
            address,
            stopper,
            task: tokio::task::spawn_local(task),
        }
    }

    async fn get(&self, path: &str) -> String {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // If the connection breaks, keep what arrived.
        connection.read_to_string(&mut answer).await.ok();
        answer
    }
}

#[test]
fn two_applications_of_one_process_are_stopped_apart() {
    run(async {
        let engines = Engines::default();
        let given = || Given {
            engines: engines.clone(),
            ..Given::default()
        };
        let (hello, sleep) = (serving("hello", given()), serving("sleep", given()));
        let (first, second) = (hello.reserve().unwrap(), sleep.reserve().unwrap());
        let hello = Served::new(hello, first, PATIENCE);
        let sleep = Served::new(sleep, second, PATIENCE);
        assert!(hello.get("/").await.ends_with("Hello from Wasm\n"));
        // One is stopped while it has a request, which is finished.
        let (answer, ()) = tokio::join!(sleep.get("/?ms=300"), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(sleep.stopper.stop(Instant::now()));
        });
        assert!(answer.ends_with("slept 300 ms\n"), "{answer}");
        sleep.task.await.unwrap();
        TcpStream::connect(sleep.address).await.unwrap_err();
        // The other one goes on.
        assert!(hello.get("/").await.ends_with("Hello from Wasm\n"));
        assert!(hello.stopper.stop(Instant::now()));
        hello.task.await.unwrap();
        assert!(!hello.stopper.stop(Instant::now()));
    });
}

#[test]
fn applications_of_one_kind_share_an_engine_and_each_has_all_its_instances() {
    run(async {
        let engines = Engines::default();
        let mut settings = Settings::default();
        settings.engine.instances = 2;
        let given = || Given {
            engines: engines.clone(),
            ..Given::default()
        };
        let apps = ["sleep", "sleep", "sleep"].map(|guest| app(guest, &settings, given()).unwrap());
        let reserved = apps.map(|app| (app.reserve().unwrap(), app));
        let engine = reserved[0].0.place.runner().unwrap();
        for (reserved, _) in &reserved[1..] {
            let other = reserved.place.runner().unwrap();
            assert!(std::sync::Arc::ptr_eq(&engine, &other));
        }
        let served = reserved.map(|(reserved, app)| Served::new(app, reserved, PATIENCE));
        let ask = |served: &Served| {
            let address = served.address;
            async move {
                let mut connection = TcpStream::connect(address).await.unwrap();
                let head = b"GET /?ms=200 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
                connection.write_all(head).await.unwrap();
                let mut answer = String::new();
                connection.read_to_string(&mut answer).await.unwrap();
                answer
            }
        };
        // As many at once as there are instances in total.
        let asked = served.iter().flat_map(|served| [ask(served), ask(served)]);
        for answer in futures::future::join_all(asked).await {
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    });
}

#[test]
fn an_application_that_is_stopped_is_cut_off_at_its_limit() {
    run(async {
        let app = serving("sleep", Given::default());
        let reserved = app.reserve().unwrap();
        let served = Served::new(app, reserved, Duration::from_millis(300));
        let began = Instant::now();
        // The request takes longer than it may.
        let (answer, ()) = tokio::join!(served.get("/?ms=50000"), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(served.stopper.stop(Instant::now()));
        });
        assert_eq!(answer, "");
        served.task.await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(30));
    });
}

#[test]
fn what_guests_print_goes_where_their_application_was_told() {
    run(async {
        let outputs = [(); 2].map(|()| (Output::memory(), Output::memory()));
        let served = outputs.clone().map(|(stdout, stderr)| {
            let given = Given {
                stdout,
                stderr,
                ..Given::default()
            };
            let app = serving("print-lines", given);
            let reserved = app.reserve().unwrap();
            Served::new(app, reserved, PATIENCE)
        });
        served[1].get("/").await;
        assert_eq!(outputs[0].0.kept(), b"");
        assert_eq!(
            outputs[1].0.kept(),
            b"stdout one\nstdout two\nstdout without an end\n"
        );
        assert_eq!(
            outputs[1].1.kept(),
            b"stderr one\nstderr two\nstderr without an end\n"
        );
    });
}

#[test]
fn an_output_that_nobody_reads_stops_no_other_application() {
    run(async {
        let (reader, full) = std::io::pipe().unwrap();
        let full = Output::to(full.into());
        full.start_queueing();
        let read = Output::memory();
        let served = [full, read.clone()].map(|stdout| {
            let given = Given {
                stdout,
                ..Given::default()
            };
            let app = serving("print-a-lot", given);
            let reserved = app.reserve().unwrap();
            Served::new(app, reserved, PATIENCE)
        });
        // More than the pipe holds.
        let much = "/?lines=40&length=50000";
        assert!(served[0].get(much).await.ends_with("40 lines\n"));
        assert!(served[1].get(much).await.ends_with("40 lines\n"));
        assert_eq!(read.kept().len(), 40 * 50_001);
        drop(reader);
    });
}

#[test]
fn an_application_has_its_environment_and_no_other() {
    run(async {
        let given = Given {
            environment: vec![("WHERE".to_owned(), "here".to_owned())],
            ..Given::default()
        };
        let app = serving("environment", given);
        let reserved = app.reserve().unwrap();
        let answer = Served::new(app, reserved, PATIENCE).get("/").await;
        assert!(answer.ends_with("\r\n\r\nenv WHERE=here\n"), "{answer}");
    });
}

#[test]
fn a_command_runs_to_its_end_and_has_what_it_was_given() {
    run(async {
        let stdout = Output::memory();
        let given = Given {
            environment: vec![("WHERE".to_owned(), "here".to_owned())],
            arguments: vec!["args-env".to_owned(), "one".to_owned()],
            stdout: stdout.clone(),
            ..Given::default()
        };
        let app = app("args-env", &Settings::default(), given).unwrap();
        let Life::Run(component) = app.life() else {
            panic!("{:?}", app.life())
        };
        let command = app.command(app.reserve().unwrap(), &component).unwrap();
        assert_eq!(command.run().await.unwrap(), 0);
        assert_eq!(
            String::from_utf8(stdout.kept()).unwrap(),
            "arg args-env\narg one\nenv WHERE=here\n"
        );
    });
}

#[test]
fn a_component_that_begins_with_more_memory_than_it_may_have_is_refused() {
    let mut settings = Settings::default();
    settings.guests.memory = Some(1);
    let error = app("hello", &settings, Given::default()).err().unwrap();
    let told = format!("{error:#}");
    assert!(
        told.contains("over the limit of 1 that SKIFF_MAX_INSTANCE_MEMORY or"),
        "{told}"
    );
}

#[test]
fn code_that_is_gone_is_missed_when_it_is_reserved() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let file = target().join("guests/hello.wasm");
    let prepared = Prepared::from_wasm_file(&file).unwrap();
    let settings = Settings::default();
    let turn = || Ok(());
    let compiled = prepare(&prepared, &settings, &Setup::default(), &cache, &turn).unwrap();
    let checked = Checked::before(&prepared, &compiled.codes, &cache, &settings).unwrap();
    let app = App::new(checked, &prepared, cache, &settings, Given::default()).unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "native") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let error = app.reserve().err().unwrap().to_string();
    assert!(
        error.starts_with("the compiled code of application"),
        "{error}"
    );
}
