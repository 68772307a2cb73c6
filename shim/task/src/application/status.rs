//! The result of a start: the process that serves writes it, and the shim reads it.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::handover;

/// What a serving process writes when it accepts requests.
pub(crate) const READY: &str = "ready";

/// The largest message of a failed start that is read.
const MAX_STATUS: u64 = 16 << 10;

/// Reports to the shim, once, how the start went.
#[derive(Debug)]
pub struct Status(RefCell<Option<File>>);

impl Status {
    /// Takes it over from the shim. Call it once per process, and before opening anything
    /// else.
    ///
    /// # Errors
    /// If the shim has not started this process.
    pub fn take() -> io::Result<Self> {
        let file = handover::take(handover::STATUS)?;
        Ok(Status(RefCell::new(Some(file.into()))))
    }

    /// Reports that requests are accepted from now on.
    ///
    /// # Errors
    /// If the shim cannot be reached.
    pub fn ready(&self) -> io::Result<()> {
        match self.0.take() {
            Some(mut file) => file.write_all(format!("{READY}\n").as_bytes()),
            None => Ok(()),
        }
    }

    /// Reports a failure. Returns whether it was one of the start, which the shim then
    /// reports to the container's owner.
    pub fn failed(&self, message: &str) -> bool {
        let told = self
            .0
            .take()
            .map(|mut file| file.write_all(message.as_bytes()));
        matches!(told, Some(Ok(())))
    }
}

/// What the container's process writes until it closes its end or is ready. Do not wait
/// for the end after that: its worker processes may keep it open.
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
