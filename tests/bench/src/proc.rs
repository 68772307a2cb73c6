//! Processes and the machine's processor time, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Processes that use less than this share of one core have nothing left to
/// prepare; timers and epochs stay far below it.
const QUIET_SHARE: f64 = 0.03;

/// How long processes have to be quiet to count as settled.
const QUIET_TIME: Duration = Duration::from_millis(1500);

/// Clock ticks a second, as the kernel reports to user space on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The relevant facts of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub id: i32,
    /// The id of its parent.
    pub parent: i32,
    /// When it started, in clock ticks since boot: distinguishes it from a later process
    /// with the same id.
    pub started: u64,
    /// Processor time it has used, in clock ticks, without its children's.
    pub ticks: u64,
    /// Minor page faults it has had, without its children's.
    pub faults: u64,
}

/// The resources that some processes have used so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Processor time, in clock ticks.
    pub ticks: u64,
    /// Minor page faults.
    pub faults: u64,
}

/// The server's cost of each request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Processor time, in microseconds.
    pub time_us: f64,
    /// Minor page faults.
    pub faults: f64,
}

impl Used {
    /// The resources used between this and `later`, divided by the number of requests.
    pub fn cost(self, later: Used, requests: f64) -> Cost {
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / requests;
        Cost {
            time_us: each(self.ticks, later.ticks) * 1e6 / TICKS_PER_SECOND,
            faults: each(self.faults, later.faults),
        }
    }
}

/// A snapshot of one process; none if it has ended, waited for or not.
pub fn process(id: i32) -> Option<Process> {
    parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Reads a `stat` line. The name in it may contain spaces and brackets, so fields are
/// counted from the last bracket.
fn parse(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    if matches!(fields.first(), None | Some(&("Z" | "X"))) {
        return None;
    }
    Some(Process {
        id: head.split_whitespace().next()?.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        started: number(19)?,
        ticks: number(11)? + number(12)?,
        faults: number(7)?,
    })
}

/// The ids of all processes.
fn ids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The processes with these ids and everything below them that runs now, each once.
pub fn tree(roots: &[i32]) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for id in ids() {
        if let Some(process) = process(id) {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut found: Vec<Process> = roots.iter().filter_map(|id| process(*id)).collect();
    let mut next = 0;
    while let Some(id) = found.get(next).map(|process| process.id) {
        let below = children.remove(&id).unwrap_or_default();
        found.extend(below.into_iter().filter(|child| !roots.contains(&child.id)));
        next += 1;
    }
    found
}

/// The resources used by these processes and their descendants.
pub fn used_below(roots: &[i32]) -> Used {
    tree(roots)
        .iter()
        .fold(Used::default(), |sum, process| Used {
            ticks: sum.ticks + process.ticks,
            faults: sum.faults + process.faults,
        })
}

/// The processes that execute that file, whatever their name and parent.
pub fn executing(program: &Path) -> Vec<i32> {
    let same = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
    let Some(file) = same(program) else {
        return Vec::new();
    };
    let all = ids().filter(|id| same(Path::new(&format!("/proc/{id}/exe"))) == Some(file));
    all.collect()
}

/// Waits until the processes of `roots` and their descendants have no work left, such as
/// recompiling while they serve, and returns the time this took. After `patience` it
/// stops waiting, and a busy process is measured as it is.
pub fn settle(roots: impl Fn() -> Vec<i32>, patience: Duration) -> Duration {
    let begin = Instant::now();
    let mut last_work = Duration::ZERO;
    while begin.elapsed() < patience && begin.elapsed() - last_work < QUIET_TIME {
        let (before, at) = (used_below(&roots()).ticks, Instant::now());
        thread::sleep(QUIET_TIME / 3);
        let used = used_below(&roots()).ticks.saturating_sub(before) as f64 / TICKS_PER_SECOND;
        if used / at.elapsed().as_secs_f64() > QUIET_SHARE {
            last_work = begin.elapsed();
        }
    }
    last_work
}

/// Processor time of the children that this process has waited for, in clock ticks.
pub fn ticks_of_waited() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let tail = stat.rsplit_once(')').map_or("", |(_, tail)| tail);
    let fields = tail.split_whitespace().skip(13).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Busy and total processor time of the machine since boot, in clock ticks.
#[derive(Debug, Clone, Copy)]
pub struct MachineTime {
    /// Time that processes used, and time that the machine's own host took away.
    /// Interrupts are left out: the load under test causes them.
    pub busy: u64,
    /// Time of all cores.
    pub total: u64,
}

/// The machine's processor time so far; zeros where `/proc/stat` cannot be read,
/// which only silences the note about a busy machine.
pub fn machine_time() -> MachineTime {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guest time, which
    // follows, is part of user time already.
    let sum = |indices: &[usize]| indices.iter().filter_map(|at| fields.get(*at)).sum();
    MachineTime {
        busy: sum(&[0, 1, 2, 7]),
        total: sum(&[0, 1, 2, 3, 4, 5, 6, 7]),
    }
}

/// Measures how much of the machine others used during a piece of work.
#[derive(Debug)]
pub struct Meter {
    machine: MachineTime,
    ours: u64,
}

impl Meter {
    /// Starts a piece of work; `ours` is the time the measured processes used so far.
    /// Children that are started and waited for in between count as ours.
    pub fn begin(ours: u64) -> Self {
        Self {
            machine: machine_time(),
            ours: ours + ticks_of_waited(),
        }
    }

    /// Ends it and returns the share of the machine's time that was neither ours nor
    /// idle, from 0 to 1.
    pub fn end(self, ours: u64) -> f64 {
        let now = machine_time();
        let total = now.total.saturating_sub(self.machine.total).max(1);
        let busy = now.busy.saturating_sub(self.machine.busy);
        let ours = (ours + ticks_of_waited()).saturating_sub(self.ours);
        busy.saturating_sub(ours) as f64 / total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 50 60 8 9 20 0 1 0 777 1 2";
        assert_eq!(
            parse(line),
            Some(Process {
                id: 42,
                parent: 7,
                started: 777,
                ticks: 110,
                faults: 1
            })
        );
    }

    #[test]
    fn a_process_that_nobody_waited_for_has_ended() {
        let line = "42 (gone) Z 7 42 42 0 -1 4194560 1 2 3 4 50 60 8 9 20 0 1 0 777 1 2";
        assert_eq!(parse(line), None);
    }

    #[test]
    fn this_process_executes_its_own_program() {
        let program = std::env::current_exe().expect("a running program has a path");
        let id = i32::try_from(std::process::id()).expect("ids are small");
        assert!(executing(&program).contains(&id));
        assert!(executing(Path::new("/no/such/program")).is_empty());
    }

    #[test]
    fn the_tree_of_this_process_holds_its_child() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep is everywhere");
        let ours = i32::try_from(std::process::id()).expect("ids are small");
        let id = i32::try_from(child.id()).expect("ids are small");
        let found = tree(&[ours]).iter().any(|process| process.id == id);
        child.kill().expect("it runs");
        child.wait().expect("it is ours");
        assert!(found);
    }
}
