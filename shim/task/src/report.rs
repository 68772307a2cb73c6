//! Reports why a container did not start, where its owner looks for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use containerd_shimkit::sandbox::Error;

/// How many bytes kubelet reads of a termination message.
const MAX_TERMINATION_MESSAGE: usize = 4096;

/// How long containerd may take to open its end of the container's stderr, and to read
/// from it. It opens it before it creates the container, so this only matters on a busy
/// node.
const STDERR_DEADLINE: Duration = Duration::from_secs(2);

/// How long containerd needs to write a line that it has read to the log.
const PASSED_ON: Duration = Duration::from_millis(50);

/// Where the owner of a container looks for failures.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    stderr: PathBuf,
    termination_message: Option<PathBuf>,
    message: fn(&anyhow::Error) -> String,
}

impl Owner {
    /// Reports to the container's stderr; `message` formats a failure.
    pub(crate) fn new(stderr: PathBuf, message: fn(&anyhow::Error) -> String) -> Self {
        Owner {
            stderr,
            termination_message: None,
            message,
        }
    }

    /// Also reports to the termination message at this path of the node.
    pub(crate) fn expects_at(&mut self, termination_message: Option<PathBuf>) {
        self.termination_message = termination_message;
    }

    /// The container's stderr.
    pub(crate) fn stderr(&self) -> &Path {
        &self.stderr
    }

    /// Reports the failure to the owner, and returns it as the error of the call.
    pub(crate) fn tell(&self, error: &anyhow::Error) -> Error {
        let message = (self.message)(error);
        report(&message, &self.stderr, self.termination_message.as_deref());
        Error::Any(anyhow!(message))
    }
}

/// Writes a failure to the container's stderr and as its termination message. Neither
/// delays the caller: it only waits briefly for a reader to appear.
fn report(message: &str, stderr: &Path, termination_message: Option<&Path>) {
    if !stderr.as_os_str().is_empty()
        && let Err(error) = write_line(message, stderr)
    {
        log::warn!(
            "cannot write to the container's stderr `{}`: {error}",
            stderr.display()
        );
    }
    if let Some(path) = termination_message
        && let Err(error) = write_termination_message(message, path)
    {
        log::warn!(
            "cannot write the termination message `{}`: {error}",
            path.display()
        );
    }
}

/// Keeps the container's stderr open for a failure that is still to be written:
/// containerd reads until the last writer closes it.
pub(crate) fn hold(stderr: &Path) -> Option<File> {
    let held = OpenOptions::new()
        .append(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(stderr);
    held.ok()
}

/// Writes one line to a FIFO or file without waiting for a slow reader.
fn write_line(message: &str, path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + STDERR_DEADLINE;
    let mut options = OpenOptions::new();
    options
        .append(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let mut file = loop {
        match options.open(path) {
            // The FIFO has no reader yet.
            Err(error)
                if error.raw_os_error() == Some(libc::ENXIO) && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => break opened?,
        }
    };
    let kind = file.metadata()?.file_type();
    if !kind.is_fifo() && !kind.is_file() {
        return Err(io::Error::other("is neither a FIFO nor a file"));
    }
    let line = format!("{}\n", one_line(message));
    file.write_all(line.as_bytes())?;
    if kind.is_fifo() {
        wait_until_read(&file, deadline)?;
    }
    Ok(())
}

/// containerd closes its end as soon as the call has failed, and loses what it has not
/// read by then.
fn wait_until_read(fifo: &File, deadline: Instant) -> io::Result<()> {
    while rustix::io::ioctl_fionread(fifo)? > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    // containerd has to pass on what it has read.
    std::thread::sleep(PASSED_ON);
    Ok(())
}

/// Joins lines, which belong together in a log; an event of a pod has only one line.
fn one_line(message: &str) -> String {
    let lines = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

/// Writes a container's termination message, of which kubelet reads the beginning.
/// Kubelet creates the file, so a link in its place was put there by somebody else.
///
/// # Errors
/// If it is not a regular file, or cannot be written.
pub fn write_termination_message(message: &str, path: &Path) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut file = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    file.set_len(0)?;
    file.write_all(beginning(message.trim_end()).as_bytes())
}

/// The part of a text that kubelet would read, cut between characters.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(MAX_TERMINATION_MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs;
    use std::io::Read;

    #[test]
    fn a_failure_is_one_line_on_stderr_and_the_termination_message() {
        let folder = tempfile::tempdir().unwrap();
        let (fifo, log) = (folder.path().join("stderr"), folder.path().join("log"));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        fs::write(&log, "something older and longer than the new message").unwrap();
        let mut reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&fifo)
            .unwrap();
        report("first\n  second", &fifo, Some(&log));
        let mut line = String::new();
        reader.read_to_string(&mut line).unwrap();
        assert_eq!(line, "first; second\n");
        assert_eq!(fs::read_to_string(&log).unwrap(), "first\n  second");
    }

    #[test]
    fn nobody_reading_stderr_does_not_keep_it() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("stderr");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        let error = write_line("lost", &fifo).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
    }

    #[test]
    fn a_full_stderr_does_not_keep_it() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("stderr");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        let both = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&fifo)
            .unwrap();
        let error = write_line(&"x".repeat(1 << 20), &fifo).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(both);
    }

    #[test]
    fn a_termination_message_follows_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let error = write_termination_message("no", &link).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let text = format!("a{}", "ö".repeat(4096));
        let cut = beginning(&text);
        assert_eq!(cut.len(), MAX_TERMINATION_MESSAGE - 1);
        assert!(cut.ends_with('ö'));
    }
}
