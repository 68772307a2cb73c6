//! Processes in `/proc`: names, parents, ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How often a wait polls. Ten milliseconds is too short for a test to notice and far
/// longer than a poll takes.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A process in a report: its id and its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id in this process's namespace.
    pub pid: u32,
    /// Its arguments, joined by spaces; its short name if it has none.
    pub command: String,
}

impl std::fmt::Display for Process {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} ({})", self.pid, self.command)
    }
}

/// Looks a process up. `None` if it has ended or is a zombie.
pub fn look_up(pid: u32) -> Option<Process> {
    let (_, state, name) = stat(pid)?;
    if matches!(state, 'Z' | 'X') {
        return None;
    }
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let joined = String::from_utf8_lossy(&raw)
        .trim_end_matches('\0')
        .replace('\0', " ");
    let command = if joined.is_empty() { name } else { joined };
    Some(Process { pid, command })
}

/// All processes whose command line contains this text.
pub fn with_argument(text: &str) -> Vec<Process> {
    all()
        .into_iter()
        .filter_map(look_up)
        .filter(|found| found.command.contains(text))
        .collect()
}

/// Those that do not descend from another one of them. A shim's child processes have
/// similar command lines.
pub fn roots_with_argument(text: &str) -> Vec<Process> {
    let mut found = with_argument(text);
    let pids: Vec<_> = found.iter().map(|process| process.pid).collect();
    let descends = |pid: u32| {
        let mut others = pids.iter().filter(|other| **other != pid);
        others.any(|other| tree(*other).contains(&pid))
    };
    found.retain(|process| !descends(process.pid));
    found
}

/// A process and all that descend from it, by parent links.
pub fn tree(root: u32) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in all() {
        if let Some((parent, _, _)) = stat(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut waiting = vec![root];
    while let Some(pid) = waiting.pop() {
        if found.insert(pid) {
            waiting.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// Sends a signal to one process. A process that is gone already is not an error.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).ok();
    }
}

/// Waits until none of them lives, and returns those that still do at the end.
pub fn wait_gone(pids: impl Fn() -> BTreeSet<u32>, limit: Duration) -> Vec<Process> {
    let end = Instant::now() + limit;
    loop {
        let left: Vec<_> = pids().into_iter().filter_map(look_up).collect();
        if left.is_empty() || Instant::now() >= end {
            return left;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Parent, state letter and short name. The name is in brackets and may itself contain
/// brackets, so it ends at the last one.
fn stat(pid: u32) -> Option<(u32, char, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let open = text.find('(')?;
    let close = text.rfind(')')?;
    let mut rest = text.get(close + 2..)?.split(' ');
    let state = rest.next()?.chars().next()?;
    let parent = rest.next()?.parse().ok()?;
    Some((parent, state, text.get(open + 1..close)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_and_its_tree_holds_it() {
        let own = std::process::id();
        let found = look_up(own).expect("this process lives");
        assert_eq!(found.pid, own);
        assert!(tree(own).contains(&own));
    }

    #[test]
    fn a_process_that_never_was_is_nothing() {
        assert_eq!(look_up(u32::MAX), None);
    }
}
