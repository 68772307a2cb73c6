//! How a start went: the process that serves writes it, and the shim reads it.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::handover;

/// What a serving process says when it takes requests.
pub(crate) const READY: &str = "ready";

/// What is read of a failed start's message.
const MAX_STATUS: u64 = 16 << 10;

/// Tells the shim how the start went, once.
#[derive(Debug)]
pub struct Status(RefCell<Option<File>>);

impl Status {
    /// Takes it over from the shim; once in a process, and before anything else is
    /// opened.
    ///
    /// # Errors
    /// Where it was not the shim that has started this process.
    pub fn take() -> io::Result<Self> {
        let file = handover::take(handover::STATUS)?;
        Ok(Status(RefCell::new(Some(file.into()))))
    }

    /// Tells that requests are taken from now on.
    ///
    /// # Errors
    /// Where the shim cannot be reached.
    pub fn ready(&self) -> io::Result<()> {
        match self.0.take() {
            Some(mut file) => file.write_all(format!("{READY}\n").as_bytes()),
            None => Ok(()),
        }
    }

    /// Tells a failure, and whether that was one of the start: the shim then sees to it
    /// that the container's owner learns of it.
    pub fn failed(&self, message: &str) -> bool {
        let told = self
            .0
            .take()
            .map(|mut file| file.write_all(message.as_bytes()));
        matches!(told, Some(Ok(())))
    }
}

/// What the container's process says until it closes its end, or is ready: its
/// workers, which are processes, may keep the end open.
pub(crate) async fn read_status(status: OwnedFd) -> io::Result<String> {
    rustix::io::ioctl_fionbio(&status, true)?;
    let mut receiver = Receiver::from_owned_fd(status)?.take(MAX_STATUS);
    let mut told = Vec::new();
    while told != format!("{READY}\n").as_bytes() && receiver.read_buf(&mut told).await? > 0 {}
    Ok(String::from_utf8_lossy(&told).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    fn pair() -> (OwnedFd, Status) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        (reader, Status(RefCell::new(Some(writer.into()))))
    }

    #[tokio::test]
    async fn an_error_is_read_to_its_end_and_readiness_at_once() {
        let (reader, open) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&open, b"ready\n").unwrap();
        assert_eq!(read_status(reader).await.unwrap(), "ready\n");
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&writer, b"no").unwrap();
        let read = tokio::spawn(read_status(reader));
        rustix::io::write(&writer, b" way").unwrap();
        drop(writer);
        assert_eq!(read.await.unwrap().unwrap(), "no way");
    }

    #[tokio::test]
    async fn what_comes_after_the_start_is_no_failure_of_it() {
        let (reader, status) = pair();
        status.ready().unwrap();
        assert!(!status.failed("later"));
        assert_eq!(read_status(reader).await.unwrap(), "ready\n");
        let (reader, status) = pair();
        assert!(status.failed("no way"));
        assert_eq!(read_status(reader).await.unwrap(), "no way");
    }
}
