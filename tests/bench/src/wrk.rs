//! The load generator wrk, and its report.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

/// Prints the figures of a run on one line. It has no `request` or `response`
/// function, so wrk stays on its fast path and Lua runs once, at the end.
const SCRIPT: &str = r#"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("figures %d %d %.3f %d\n", summary.requests, summary.duration, latency.mean,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

/// Why a load has no valid figures.
#[derive(Debug, thiserror::Error)]
pub enum WrkError {
    /// The script could not be written.
    #[error("cannot write wrk's script `{}`", path.display())]
    Script {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// wrk is missing, or cannot be executed.
    #[error("cannot execute wrk (Debian package `wrk`)")]
    Execute(#[source] io::Error),
    /// wrk ended without the script's line.
    #[error("wrk reported nothing: {0}")]
    Silent(String),
    /// Some requests were not answered, or not with success.
    #[error("{failed} of {requests} requests failed")]
    Failed {
        /// Requests without a good answer.
        failed: u64,
        /// All requests that were answered.
        requests: u64,
    },
}

/// The figures of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Requests answered in a second.
    pub requests_per_second: f64,
    /// Mean time from a request to its answer, in microseconds.
    pub mean_latency_us: f64,
}

/// wrk with its script in place.
#[derive(Debug)]
pub struct Wrk {
    script: PathBuf,
}

impl Wrk {
    /// Writes the script into `folder`, which has to outlive the value.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn new(folder: &Path) -> Result<Self, WrkError> {
        let script = folder.join("figures.lua");
        match fs::write(&script, SCRIPT) {
            Ok(()) => Ok(Self { script }),
            Err(source) => Err(WrkError::Script {
                path: script,
                source,
            }),
        }
    }

    /// Loads `http://address/` over this many connections from one thread.
    ///
    /// # Errors
    /// If wrk cannot run, or if a request failed: figures of a server that answers
    /// wrongly would be worthless.
    pub fn load(
        &self,
        address: SocketAddr,
        connections: u32,
        time: Duration,
    ) -> Result<Load, WrkError> {
        self.load_at(address, "/", connections, time)
    }

    /// The same for another path.
    ///
    /// # Errors
    /// As for [`Wrk::load`].
    pub fn load_at(
        &self,
        address: SocketAddr,
        path: &str,
        connections: u32,
        time: Duration,
    ) -> Result<Load, WrkError> {
        let output = Command::new("wrk")
            .arg("--threads=1")
            .arg(format!("--connections={connections}"))
            .arg(format!("--duration={}s", time.as_secs().max(1)))
            .arg("--timeout=10s")
            .arg("--script")
            .arg(&self.script)
            .arg(format!("http://{address}{path}"))
            .output()
            .map_err(WrkError::Execute)?;
        let text = String::from_utf8_lossy(&output.stdout);
        read(&text).unwrap_or_else(|| {
            let told = String::from_utf8_lossy(&output.stderr);
            Err(WrkError::Silent(format!("{}{}", text.trim(), told.trim())))
        })
    }
}

/// The figures in wrk's output; none if the script's line is missing or malformed.
fn read(text: &str) -> Option<Result<Load, WrkError>> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("figures "))?;
    let mut words = line.split_whitespace();
    let requests: u64 = words.next()?.parse().ok()?;
    let microseconds: f64 = words.next()?.parse().ok()?;
    let mean_latency_us: f64 = words.next()?.parse().ok()?;
    let failed: u64 = words.next()?.parse().ok()?;
    if failed > 0 || requests == 0 {
        return Some(Err(WrkError::Failed { failed, requests }));
    }
    Some(Ok(Load {
        requests_per_second: requests as f64 / (microseconds / 1e6),
        mean_latency_us,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_line_is_read_among_wrks_own() {
        let text = "Running 2s test\nRequests/sec: 7\nfigures 200000 2000000 12.500 0\n";
        let load = read(text).expect("a line").expect("no failures");
        assert_eq!(
            load,
            Load {
                requests_per_second: 100_000.0,
                mean_latency_us: 12.5
            }
        );
    }

    #[test]
    fn failed_requests_spoil_the_figures() {
        let error = read("figures 10 1000000 5.0 3\n").map(|load| load.map_err(|e| e.to_string()));
        assert_eq!(error, Some(Err("3 of 10 requests failed".to_owned())));
    }

    #[test]
    fn output_without_the_line_tells_nothing() {
        assert!(read("unable to connect\n").is_none());
    }
}
