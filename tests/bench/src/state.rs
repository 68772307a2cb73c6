//! The key-value store that every application has: a guest's reads beside those of a program
//! that uses SQLite itself, and many writers beside one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use rusqlite::Connection;
use skiff_test_support::paths;

use crate::options::Options;
use crate::run::Run;
use crate::server::Server;
use crate::skiff;
use crate::wrk::Wrk;

const PATIENCE: Duration = Duration::from_secs(60);

/// How many reads a request makes, so that the request itself does not count.
const READS: u32 = 10_000;

/// Where the application keeps its stores, below its folder.
const FILE: &str = ".skiff/key_value.db";

/// Measures reads and writes in turns.
pub fn run(options: &Options, wrk: &Wrk, scratch: &Path, run: &mut Run) {
    if let Err(error) = measure(options, wrk, &scratch.join("state"), run) {
        for key in ["get/skiff", "get/bare", "sets/1", "sets/8"] {
            run.all.absent(format!("state/{key}"), format!("{error:#}"));
        }
    }
}

fn measure(options: &Options, wrk: &Wrk, folder: &Path, run: &mut Run) -> anyhow::Result<()> {
    let application = application(folder)?;
    let mut server = Server::start(&folder.join("log"), |address| {
        let cache = folder.join("cache");
        vec![skiff::serve(options, &application, &cache, address)]
    })?;
    server.answered(PATIENCE)?;
    server.settle(PATIENCE);
    let plan = options.plan();
    let load = |path: &str, connections| {
        let load = wrk.load_at(server.address, path, connections, plan.round);
        load.context("no figures of the key-value store")
    };
    load("/?op=set", 1)?;
    for round in 1..=plan.rounds {
        run.progress(format!("key-value store, round {round}"));
        let reads = load(&format!("/?op=get&times={READS}"), 1)?;
        let read = Duration::from_secs_f64(reads.mean_latency_us / 1e6) / READS;
        run.all.push("state/get/skiff", read.as_secs_f64());
        let bare = bare(&application.join(FILE)).context("no bare reads of the store's file")?;
        run.all.push("state/get/bare", bare.as_secs_f64());
        for writers in [1, 8] {
            let sets = load("/?op=set", writers)?.requests_per_second;
            run.all.push(format!("state/sets/{writers}"), sets);
        }
    }
    Ok(())
}

/// The folder of an application that reads and writes the default store.
fn application(folder: &Path) -> anyhow::Result<PathBuf> {
    let application = folder.join("application");
    fs::create_dir_all(&application).context("no folder for an application")?;
    let source = paths::guest("key-value-v2").display().to_string();
    let manifest = format!(
        "spin_manifest_version = 2\n\n[application]\nname = \"bench\"\n\n\
         [[trigger.http]]\nroute = \"/...\"\ncomponent = \"store\"\n\n\
         [component.store]\nsource = {source:?}\nkey_value_stores = [\"default\"]\n"
    );
    fs::write(application.join("spin.toml"), manifest).context("no manifest")?;
    Ok(application)
}

/// The time of a read as any program would make it.
fn bare(path: &Path) -> rusqlite::Result<Duration> {
    let connection = Connection::open(path)?;
    let mut statement = connection
        .prepare("SELECT value FROM spin_key_value WHERE store = 'default' AND key = ?1")?;
    let mut read = || statement.query_row(["key"], |row| row.get::<_, Vec<u8>>(0));
    read()?;
    let began = Instant::now();
    for _ in 0..READS {
        read()?;
    }
    Ok(began.elapsed() / READS)
}
