//! Standard output and standard error of this process, which its applications use and its
//! own log is written to.

use std::io::{self, Write as _};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use skiff_host::Output;

/// How long writing the last line may take.
const LAST_LINE: Duration = Duration::from_millis(100);

static STDOUT: LazyLock<Output> = LazyLock::new(|| Output::to_standard(rustix::stdio::stdout()));

/// Standard output again if both are one file, so that output stays in order.
static STDERR: LazyLock<Output> = LazyLock::new(|| {
    if are_one_file() {
        STDOUT.clone()
    } else {
        Output::to_standard(rustix::stdio::stderr())
    }
});

/// The standard output of this process, byte for byte.
pub fn stdout() -> Output {
    STDOUT.clone()
}

/// The standard error of this process, byte for byte.
pub fn stderr() -> Output {
    STDERR.clone()
}

fn are_one_file() -> bool {
    let stat = rustix::fs::fstat;
    match (stat(rustix::stdio::stdout()), stat(rustix::stdio::stderr())) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

/// As [`Output::share`], for both.
pub(super) fn share() -> io::Result<()> {
    STDOUT.share()?;
    STDERR.share()
}

/// As [`Output::start_queueing`], for both.
pub(super) fn start_queueing() {
    STDOUT.start_queueing();
    STDERR.start_queueing();
}

/// Waits until all output to both is written, for no longer than `limit`.
pub fn flush(limit: Duration) {
    let end = Instant::now() + limit;
    STDOUT.flush_until(end);
    STDERR.flush_until(end);
}

/// Writes to standard error why this process ends, after everything that was printed. A
/// process that has served ends soon, also if nobody reads.
pub fn tell_end(reason: &str) {
    let text = format!("skiff: {reason}\n");
    // A standard error that is closed tells nobody anything.
    stderr().write_all(text.as_bytes()).ok();
    flush(LAST_LINE);
}
