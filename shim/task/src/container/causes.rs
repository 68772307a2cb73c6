//! libcontainer's errors with every cause, without repetition.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};

/// How much of libcontainer's log is read when it fails.
const MAX_CAUSE: usize = 4 << 10;

/// libcontainer's message each time the first process of a container fails.
const NOISE: &str = "exec process failed with error error in executing process : ";

/// libcontainer's processes send each other errors without their causes, and log the
/// causes. The first log entry is the original failure.
pub(super) fn with_causes(step: impl FnOnce() -> anyhow::Result<i32>) -> Result<i32, String> {
    let log = memfd_create(c"setup", MemfdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let log = Arc::new(File::from(log));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::ERROR)
        .with_writer(Arc::clone(&log))
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time()
        .finish();
    let result = tracing::subscriber::with_default(subscriber, step);
    result.map_err(|error| {
        let mut logged = vec![0; MAX_CAUSE];
        let read = log.read_at(&mut logged, 0).unwrap_or_default();
        tidy(
            &format!("{error:#}"),
            &String::from_utf8_lossy(&logged[..read]),
        )
    })
}

/// Joins an error with what was logged before it.
fn tidy(error: &str, logged: &str) -> String {
    let error = error.replace(NOISE, "");
    match logged.lines().next().map(str::trim) {
        Some(cause) if !cause.is_empty() && !error.contains(cause) => format!("{error} ({cause})"),
        _ => error,
    }
}

/// An error with all its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // libcontainer repeats a cause in the text of its effect.
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

/// Adds the folder that libcontainer could not change to, which it does not name.
pub(super) fn name_folder(error: String, folder: &Path) -> String {
    match error.contains("failed to chdir") {
        true => format!(
            "cannot go to the working directory `{}`: {error}",
            folder.display()
        ),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_is_repeated_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: inner")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner")]
        struct Inner(#[source] std::io::Error);
        let error = Outer(Inner(std::io::Error::other("cause")));
        assert_eq!(chain(&error), "outer: inner: cause");
    }

    #[test]
    fn a_cause_that_was_only_logged_is_told() {
        let told = with_causes(|| {
            tracing::error!(path = "/x", "cannot mount");
            tracing::error!("cannot prepare");
            anyhow::bail!("failed to create container: {NOISE}cannot prepare")
        });
        let expected = "failed to create container: cannot prepare (cannot mount path=\"/x\")";
        assert_eq!(told.unwrap_err(), expected);
        assert_eq!(tidy("plain", ""), "plain");
    }

    #[test]
    fn a_working_directory_that_cannot_be_gone_to_is_named() {
        let named = name_folder("(failed to chdir e=ENOENT)".to_owned(), Path::new("/gone"));
        assert!(named.contains("`/gone`"), "{named}");
        assert_eq!(name_folder("other".to_owned(), Path::new("/gone")), "other");
    }
}
