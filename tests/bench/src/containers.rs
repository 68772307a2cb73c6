//! Starts and memory of containers, under the bench's own containerd.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use skiff_test_support::containerd::Settings;
use skiff_test_support::{Containerd, Version, guard, tools};

use crate::contenders::Contender;
use crate::options::{Discipline, Options};
use crate::run::Run;
use crate::server::{Line, answers};
use entrants::Entrant;
use tasks::{TaskError, Tasks};

pub mod alike;
pub mod entrants;
pub mod start;
pub mod tasks;

/// How long a container may take to answer; a first start of the largest sample
/// takes some ten seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// The current containerd series; older ones take as long.
const VERSION: Version = Version::V2;

/// The pause between two probes of a container; far shorter than a start.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// The tools for containers, found or built before this process changes namespaces.
#[derive(Debug)]
pub struct Ground {
    run: guard::Run,
    settings: Settings,
    client: PathBuf,
}

/// Finds or builds containerd and moves this process into new namespaces, where
/// everything the run does is hidden from the machine and ends with it. Call it before
/// any thread is started.
///
/// # Errors
/// Why there are no containers, in words for the table's reader.
pub fn prepare(options: &Options) -> Result<Ground, String> {
    let mut settings = Settings::new(VERSION).map_err(in_words)?;
    let client = tools::containerd(VERSION).map_err(in_words)?.join("ctr");
    for runtime in entrants::runtimes(options) {
        settings = settings.with_runtime(runtime);
    }
    let run = guard::Run::isolated().map_err(in_words)?;
    Ok(Ground {
        run,
        settings,
        client,
    })
}

/// An error with its causes on one line.
fn in_words(error: impl std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(&format!(": {error}"));
        cause = error.source();
    }
    words
}

/// A running containerd with the images of all entrants.
#[derive(Debug)]
pub struct Site {
    containerd: Containerd,
    entrants: Vec<Entrant>,
    client: PathBuf,
}

/// Starts containerd and imports the images. Entrants without an image are recorded as
/// absent with the reason; without containerd all are.
pub async fn open(
    options: &Options,
    native: &Path,
    ground: Result<Ground, String>,
    scratch: &Path,
    run: &mut Run,
) -> Option<Site> {
    let everybody = entrants::all(options, native);
    let started = match ground {
        Ok(ground) => {
            let started = Containerd::start(ground.run, &ground.settings).await;
            started
                .map(|containerd| (containerd, ground.client))
                .map_err(in_words)
        }
        Err(reason) => Err(reason),
    };
    match started {
        Ok((containerd, client)) => Some(Site {
            entrants: import(&containerd, everybody, scratch, run).await,
            containerd,
            client,
        }),
        Err(reason) => {
            run.progress(format!("no containers: {reason}"));
            for entrant in &everybody {
                absent(entrant, &reason, run);
            }
            None
        }
    }
}

impl Site {
    /// The release of containerd.
    pub fn version(&self) -> &'static str {
        self.containerd.version().number()
    }

    /// All entrants as servers under load.
    pub fn contenders(&self) -> Vec<Contender> {
        let entrants = self.entrants.iter();
        entrants.map(|entrant| self.contender(entrant)).collect()
    }

    /// `ctr run` stays in the foreground and passes signals on to the task, so it can be
    /// started and ended like any other server.
    fn contender(&self, entrant: &Entrant) -> Contender {
        let mut front = vec!["--address".to_owned()];
        front.push(self.containerd.socket().display().to_string());
        front.extend([
            "--namespace".to_owned(),
            self.containerd.run().name().to_owned(),
        ]);
        front.extend(["run", "--rm"].map(str::to_owned));
        let (client, entrant) = (self.client.clone(), entrant.clone());
        let mut contender = Contender::new(
            format!("container/{}", entrant.key),
            format!("in a container, {}", entrant.what),
        )
        .way("as it comes", move |address| {
            let recipe = entrant.recipe(address);
            let words = recipe.words(&format!("load-{}", address.port()));
            vec![Line::new(&client, front.iter().cloned().chain(words))]
        });
        contender.apart = true;
        contender
    }

    /// Runs the disciplines about containers.
    pub async fn measure(&self, options: &Options, run: &mut Run) {
        match Tasks::connect(&self.containerd).await {
            Ok(tasks) => {
                if options.wants(Discipline::Start) {
                    start::run(options, &self.containerd, &tasks, &self.entrants, run).await;
                }
                if options.wants(Discipline::Memory) {
                    alike::run(options, &tasks, &self.entrants, run).await;
                }
            }
            Err(error) => {
                let reason = in_words(error);
                for entrant in &self.entrants {
                    absent(entrant, &reason, run);
                }
            }
        }
    }

    /// Ends containerd and everything it started. Leftovers are reported in a remark.
    pub async fn close(self, run: &mut Run) {
        for left in self.containerd.shut_down().await {
            run.remarks
                .push(format!("the containers left something behind: {left:?}"));
        }
    }
}

/// Sends requests until there is a good answer.
fn answered(address: SocketAddr, id: &str) -> Result<(), TaskError> {
    let deadline = Instant::now() + PATIENCE;
    while !answers(address) {
        if Instant::now() > deadline {
            return Err(TaskError::NoAnswer {
                id: id.to_owned(),
                seconds: PATIENCE.as_secs(),
            });
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// The disciplines about containers.
const DISCIPLINES: [&str; 6] = ["start", "pod", "first-start", "memory", "further", "burst"];

fn absent(entrant: &Entrant, reason: &str, run: &mut Run) {
    for discipline in DISCIPLINES {
        run.all
            .absent(format!("{discipline}/{}", entrant.key), reason);
    }
}

/// Imports every image and returns the entrants with an image.
async fn import(
    containerd: &Containerd,
    everybody: Vec<Entrant>,
    scratch: &Path,
    run: &mut Run,
) -> Vec<Entrant> {
    let mut present = Vec::new();
    for entrant in everybody {
        let folder = scratch.join(format!("image-{}", entrant.key.replace('/', "-")));
        let imported = match entrant.layout(&folder) {
            Ok(layout) => containerd
                .import(&layout, &entrant.image)
                .await
                .map_err(in_words),
            Err(error) => Err(in_words(error)),
        };
        match imported {
            Ok(()) => present.push(entrant),
            Err(reason) => {
                run.progress(format!("{} is left out: {reason}", entrant.key));
                absent(&entrant, &reason, run);
            }
        }
    }
    present
}
