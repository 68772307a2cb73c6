//! What a pod or task costs: memory of all its processes, time to its first
//! answer.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::cri::CriError;
use crate::http::{self, HttpError};
use crate::pod::{Container, Pod};
use crate::processes;
use crate::spec::ContainerSpec;

/// Memory of a group of processes, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// How many processes.
    pub processes: usize,
    /// Proportional set size: a page shared by n processes counts 1/n.
    pub pss: u64,
    /// Pages of this process only.
    pub private: u64,
    /// Those of them that were written.
    pub private_dirty: u64,
}

impl std::ops::Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            processes: self.processes + other.processes,
            pss: self.pss + other.pss,
            private: self.private + other.private,
            private_dirty: self.private_dirty + other.private_dirty,
        }
    }
}

/// What can go wrong while a start is timed.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The container does not start.
    #[error(transparent)]
    Start(#[from] CriError),
    /// It does not answer.
    #[error(transparent)]
    Answer(#[from] HttpError),
    /// It answers, but not with 200.
    #[error("{url} answers {status}")]
    Status {
        /// The requested URL.
        url: String,
        /// The last status.
        status: ::http::StatusCode,
    },
}

/// All processes that belong to a pod or task: its shim, found by the id on
/// its command line, and whatever descends from it.
///
/// There may be several shims for one id; all are counted.
pub fn processes_of(id: &str) -> BTreeSet<u32> {
    processes::with_argument(id)
        .iter()
        .filter(|found| found.command.contains("containerd-shim"))
        .flat_map(|shim| processes::tree(shim.pid))
        .collect()
}

/// Adds up the memory of these processes. Those that ended meanwhile are left out.
pub fn memory_of(pids: &BTreeSet<u32>) -> Memory {
    let each = pids.iter().filter_map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        Some(rollup(&text))
    });
    each.fold(Memory::default(), std::ops::Add::add)
}

/// Creates and starts a container in a pod and returns the time from the create call to
/// its first 200 at `url`.
///
/// # Errors
///
/// When it does not start, or never answers 200 in time.
pub async fn create_to_ok(
    pod: &Pod,
    spec: &ContainerSpec,
    url: &str,
    limit: Duration,
) -> Result<(Container, Duration), MeasureError> {
    let began = Instant::now();
    let container = pod.run(spec).await?;
    let reply = http::get_until_ok(url, limit).await?;
    let took = began.elapsed();
    if reply.status != ::http::StatusCode::OK {
        return Err(MeasureError::Status {
            url: url.to_owned(),
            status: reply.status,
        });
    }
    Ok((container, took))
}

/// Reads the sums that the kernel gives for one process.
fn rollup(text: &str) -> Memory {
    let field = |name: &str| -> u64 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
            .unwrap_or_default()
    };
    let private_dirty = field("Private_Dirty");
    Memory {
        processes: 1,
        pss: field("Pss"),
        private: private_dirty + field("Private_Clean"),
        private_dirty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_of_the_kernel_are_read_by_their_whole_names() {
        let text = "00400000-7ffe ---p 00000000 00:00 0 [rollup]\nPss:      12 kB\n\
                    Pss_Dirty: 9 kB\nPrivate_Clean:  3 kB\nPrivate_Dirty:  4 kB\n";
        let memory = Memory {
            processes: 1,
            pss: 12,
            private: 7,
            private_dirty: 4,
        };
        assert_eq!(rollup(text), memory);
    }

    #[test]
    fn this_process_takes_memory() {
        let memory = memory_of(&BTreeSet::from([std::process::id()]));
        assert!(memory.pss > 0 && memory.processes == 1, "{memory:?}");
    }
}
