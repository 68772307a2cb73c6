//! Throughput and latency: all contenders are started, then loaded in turns.
//!
//! Turns are interleaved (A B C, A B C, …), so that other load on the machine affects all
//! alike, and a contender's figure is the median of its rounds.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::contenders::{Contender, Launch};
use crate::options::{Discipline, Options};
use crate::proc::{Cost, Meter};
use crate::promises::Unit;
use crate::report::Remark;
use crate::run::Run;
use crate::server::{Line, Server, ServerError};
use crate::wrk::{Load, Wrk, WrkError};

/// Connections of the throughput rounds: enough to keep two cores busy.
pub(crate) const CONNECTIONS: u32 = 32;

/// How long a contender may take to answer for the first time; compiling the
/// largest sample takes some ten seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rounds of latency for each round of throughput.
const LATENCY_ROUNDS: usize = 3;

/// Length of a round of latency.
const LATENCY_ROUND: Duration = Duration::from_secs(1);

/// The warm-up that fills pools and caches before measuring.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long each way is tried if a contender has several.
const TRIAL: Duration = Duration::from_secs(2);

/// Share of the machine that others may use before a patient run repeats the round.
const TOLERABLE: f64 = 0.08;

/// How often a patient run repeats a round before it accepts the figure.
const REPEATS: u32 = 40;

/// The pause between two attempts of a round.
const BREATH: Duration = Duration::from_secs(5);

/// A running contender.
struct Standing {
    key: String,
    what: String,
    apart: bool,
    server: Server,
}

/// Runs both disciplines, or the selected one.
pub fn run(
    options: &Options,
    contenders: Vec<Contender>,
    wrk: &Wrk,
    scratch: &Path,
    run: &mut Run,
) {
    let plan = options.plan();
    let turns = [
        Turn {
            discipline: Discipline::Throughput,
            name: "throughput",
            connections: CONNECTIONS,
            rounds: plan.rounds,
            time: plan.round,
        },
        // Whether a lone connection meets its worker on wrk's core or on another is
        // chance and matters most: many short rounds even it out.
        Turn {
            discipline: Discipline::Latency,
            name: "latency",
            connections: 1,
            rounds: plan.rounds * LATENCY_ROUNDS,
            time: LATENCY_ROUND,
        },
    ];
    let wanted = turns
        .into_iter()
        .filter(|turn| options.wants(turn.discipline));
    let wanted: Vec<Turn> = wanted.collect();
    if wanted.is_empty() {
        return;
    }
    let mut standing = Vec::new();
    for contender in contenders {
        let key = contender.key.clone();
        run.progress(format!("starting {key}"));
        match stand(contender, wrk, scratch, run) {
            Ok(up) => standing.push(up),
            Err(reason) => {
                run.progress(format!("{key} is left out: {reason}"));
                for turn in &wanted {
                    run.all.absent(format!("{}/{key}", turn.name), &reason);
                }
            }
        }
    }
    for turn in wanted {
        let name = turn.name;
        turn.all(&mut standing, wrk, options, run);
        for up in &standing {
            if up.key != "native" {
                run.others.push(Remark {
                    key: format!("{name}/{}", up.key),
                    base: Some(format!("{name}/native")),
                    what: format!("{name}, {}, times native", up.what),
                    unit: Unit::Ratio,
                });
                // The processes of such a contender cannot be found from here.
                if turn.discipline == Discipline::Throughput && !up.apart {
                    run.others.push(Remark {
                        key: format!("time/{}", up.key),
                        base: Some("time/native".to_owned()),
                        what: format!("processor time a request, {}, times native", up.what),
                        unit: Unit::Ratio,
                    });
                    run.others.push(Remark {
                        key: format!("faults/{}", up.key),
                        base: None,
                        what: format!("minor faults a request, {}", up.what),
                        unit: Unit::Count,
                    });
                }
            }
        }
    }
}

/// One discipline's load.
struct Turn {
    discipline: Discipline,
    name: &'static str,
    connections: u32,
    rounds: usize,
    time: Duration,
}

/// One contender's round.
struct Round {
    load: Load,
    /// The cost of each request.
    cost: Cost,
    /// The share of the machine that others used meanwhile, if known.
    others: Option<f64>,
}

impl Turn {
    /// All rounds of all contenders. One that fails a request is out, with the reason.
    fn all(&self, standing: &mut Vec<Standing>, wrk: &Wrk, options: &Options, run: &mut Run) {
        let rounds = self.rounds;
        for round in 1..=rounds {
            run.progress(format!("{}, round {round} of {rounds}", self.name));
            standing.retain(|up| {
                let key = format!("{}/{}", self.name, up.key);
                match self.one(up, wrk, options.patient) {
                    Ok(round) => {
                        run.all.push(key, self.figure(round.load));
                        if self.discipline == Discipline::Throughput && !up.apart {
                            run.all.push(format!("time/{}", up.key), round.cost.time_us);
                            run.all
                                .push(format!("faults/{}", up.key), round.cost.faults);
                        }
                        run.others_used.extend(round.others);
                        true
                    }
                    Err(error) => {
                        run.progress(format!("{key} is out: {error}"));
                        run.all.absent(key, error.to_string());
                        false
                    }
                }
            });
        }
    }

    fn one(&self, up: &Standing, wrk: &Wrk, patient: bool) -> Result<Round, WrkError> {
        let mut left = if patient { REPEATS } else { 0 };
        loop {
            let before = up.server.used();
            let meter = Meter::begin(before.ticks);
            let load = wrk.load(up.server.address, self.connections, self.time)?;
            let after = up.server.used();
            let others = meter.end(after.ticks);
            if left == 0 || others < TOLERABLE {
                let requests = load.requests_per_second * self.time.as_secs_f64();
                return Ok(Round {
                    load,
                    cost: before.cost(after, requests),
                    others: (!up.apart).then_some(others),
                });
            }
            left -= 1;
            // Busy processes, mostly compilers, get time to finish.
            thread::sleep(BREATH);
        }
    }

    fn figure(&self, load: Load) -> f64 {
        match self.connections {
            1 => load.mean_latency_us,
            _ => load.requests_per_second,
        }
    }
}

/// Starts a contender in its best way, warm and fully prepared.
fn stand(
    mut contender: Contender,
    wrk: &Wrk,
    scratch: &Path,
    run: &mut Run,
) -> Result<Standing, String> {
    if let Some(line) = &contender.before {
        execute(line)?;
    }
    let log = scratch.join(format!("{}.log", contender.key.replace('/', "-")));
    if contender.prepare {
        // Code that it now compiles in the background is on disk at its next start.
        up(&contender.ways[0].1, &log).map_err(|error| error.to_string())?;
    }
    let (way, launch) = match contender.ways.len() {
        1 => contender.ways.remove(0),
        _ => best(&mut contender, wrk, &log, run)?,
    };
    let server = up(&launch, &log).map_err(|error| error.to_string())?;
    wrk.load(server.address, CONNECTIONS, WARM_UP)
        .map_err(|error| error.to_string())?;
    let what = match way.as_str() {
        "as it comes" | "as it is" | "reuse asked for" => contender.what,
        way => format!("{} ({way})", contender.what),
    };
    Ok(Standing {
        key: contender.key,
        what,
        apart: contender.apart,
        server,
    })
}

/// Tries each way briefly and picks the fastest. The trials' figures are kept under
/// `trial/…`. A way that fails loses.
fn best(
    contender: &mut Contender,
    wrk: &Wrk,
    log: &Path,
    run: &mut Run,
) -> Result<(String, Launch), String> {
    let mut fastest: Option<(f64, usize)> = None;
    let mut reason = String::new();
    for (index, (name, launch)) in contender.ways.iter().enumerate() {
        let key = format!("trial/{}/{name}", contender.key);
        let loaded = up(launch, log).map_err(|error| error.to_string());
        let loaded = loaded.and_then(|server| {
            let warm = wrk.load(server.address, CONNECTIONS, WARM_UP);
            warm.and_then(|_| wrk.load(server.address, CONNECTIONS, TRIAL))
                .map_err(|error| error.to_string())
        });
        match loaded {
            Ok(load) => {
                let figure = load.requests_per_second;
                run.all.push(key, figure);
                if fastest.is_none_or(|(so_far, _)| figure > so_far) {
                    fastest = Some((figure, index));
                }
            }
            Err(error) => {
                run.all.absent(key, error.clone());
                reason = error;
            }
        }
    }
    match fastest {
        Some((_, index)) => Ok(contender.ways.swap_remove(index)),
        None => Err(reason),
    }
}

/// A server that answers and is idle.
fn up(launch: &Launch, log: &Path) -> Result<Server, ServerError> {
    let mut server = Server::start(log, launch)?;
    server.answered(PATIENCE)?;
    server.settle(PATIENCE);
    Ok(server)
}

/// Runs a command to its end.
fn execute(line: &Line) -> Result<(), String> {
    let name = line.program.display();
    let output = Command::new(&line.program)
        .args(&line.arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot execute `{name}`: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let told = String::from_utf8_lossy(&output.stderr);
            Err(format!("`{name}` failed: {}", told.trim()))
        }
    }
}
