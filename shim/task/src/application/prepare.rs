//! Has an application prepared in a short-lived process: it reads untrusted data, and
//! takes memory that the shim must not keep.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Answer, Request};
use crate::shim::reaper::{Ended, Reaper};

/// The time limit. kubelet waits two minutes for a container; this leaves time to report
/// what happened.
const DEADLINE: Duration = Duration::from_secs(110);

/// How long the process may take to end after it has answered or was killed.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// The largest answer that is read: keys of code and paths of files, a few hundred bytes
/// per component.
const MAX_ANSWER: u64 = 16 << 20;

/// How much of the process's stderr is kept: a panic's message.
const MAX_STDERR: u64 = 8 << 10;

/// Sends the request to a new process with this name and these arguments.
///
/// # Errors
/// If the process cannot be started, takes too long, or ends without an answer.
pub(crate) async fn prepare(name_and_args: &[&str], request: &Request) -> anyhow::Result<Answer> {
    let mut command = Command::new("/proc/self/exe");
    if let [name, args @ ..] = name_and_args {
        command.arg0(name).args(args);
    }
    ask(command, request, DEADLINE).await
}

async fn ask(
    mut command: Command,
    request: &Request,
    deadline: Duration,
) -> anyhow::Result<Answer> {
    let question = serde_json::to_vec(request).context("cannot write the request")?;
    let hold = Reaper::global().hold();
    let child = command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the process that prepares the application")?;
    let pid = i32::try_from(child.id()).context("a process number is too large")?;
    let exit = hold.watch(pid);
    let process = Pid::from_raw(pid).context("a process has no number")?;
    let process = pidfd_open(process, PidfdFlags::empty());
    let Ok(spoken) = timeout(deadline, converse(child, &question)).await else {
        if let Ok(process) = process {
            // It makes no difference if the process has just ended.
            pidfd_send_signal(process, Signal::KILL).ok();
        }
        bail!("preparing the application took longer than {deadline:?}");
    };
    let (answer, words) =
        spoken.context("cannot communicate with the process that prepares the application")?;
    if let Ok(answer) = serde_json::from_slice(&answer) {
        // The process still tidies the node; do not wait for that.
        tokio::spawn(async move {
            if let Ok(words) = words.await
                && !words.trim().is_empty()
            {
                log::info!("preparing an application: {}", words.trim());
            }
        });
        return Ok(answer);
    }
    let words = timeout(END_DEADLINE, words).await;
    let words = words.ok().and_then(Result::ok).unwrap_or_default();
    let ended = timeout(END_DEADLINE, exit.wait()).await.ok();
    bail!("{}", without_answer(ended, &words))
}

/// Sends a request and reads the answer. What the process writes to stderr is read until
/// it ends.
async fn converse(
    mut child: Child,
    question: &[u8],
) -> std::io::Result<(Vec<u8>, JoinHandle<String>)> {
    let missing = || std::io::Error::other("a standard stream is missing");
    let stdin = OwnedFd::from(child.stdin.take().ok_or_else(missing)?);
    let stdout = OwnedFd::from(child.stdout.take().ok_or_else(missing)?);
    let stderr = OwnedFd::from(child.stderr.take().ok_or_else(missing)?);
    for pipe in [&stdin, &stdout, &stderr] {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    let mut sender = Sender::from_owned_fd(stdin)?;
    let (answers, errors) = (
        Receiver::from_owned_fd(stdout)?,
        Receiver::from_owned_fd(stderr)?,
    );
    let send = async move {
        // A process that ends early closes its end; its last output explains more.
        sender.write_all(question).await.ok();
    };
    let words = tokio::spawn(async move {
        let words = read_some(errors, MAX_STDERR).await.unwrap_or_default();
        String::from_utf8_lossy(&words).into_owned()
    });
    let (_, answer) = tokio::join!(send, read_some(answers, MAX_ANSWER));
    Ok((answer?, words))
}

/// Reads to the end, but keeps only the beginning.
async fn read_some(mut from: impl AsyncRead + Unpin, most: u64) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    (&mut from).take(most).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(kept)
}

fn without_answer(ended: Option<Ended>, stderr: &str) -> String {
    let how = match ended.map(|ended| ended.code) {
        None => "did not end".to_owned(),
        Some(137) => "was killed, perhaps because memory ran out".to_owned(),
        Some(code @ 129..=192) => format!("was killed by signal {}", code - 128),
        Some(code) => format!("ended with exit code {code}"),
    };
    let words = stderr.trim();
    let colon = if words.is_empty() { "" } else { ": " };
    format!("the process that prepares the application {how}{colon}{words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::path::PathBuf;

    fn request() -> Request {
        Request {
            container: "c".to_owned(),
            namespace: "n".to_owned(),
            containerd: PathBuf::from("/run/containerd/containerd.sock"),
            rootfs: PathBuf::from("/rootfs"),
            args: vec!["/".to_owned()],
            directory: PathBuf::from("/"),
            environment: vec![format!("BIG={}", "x".repeat(1 << 20))],
            mounts: vec![PathBuf::from("/data")],
            pod_namespace: None,
            settings: Value::Null,
        }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_answer_comes_back_even_when_the_request_is_not_read() {
        let script = r#"echo '{"Nothing":{"reason":"no layer"}}'"#;
        let answer = ask(shell(script), &request(), PATIENCE).await.unwrap();
        let reason = "no layer".to_owned();
        assert_eq!(answer, Answer::Nothing { reason });
    }

    #[tokio::test]
    async fn a_large_request_is_passed_on_whole() {
        let script = r#"n=$(/usr/bin/wc -c); echo "{\"Failed\":{\"message\":\"$n\"}}""#;
        let answer = ask(shell(script), &request(), PATIENCE).await.unwrap();
        let length = serde_json::to_vec(&request()).unwrap().len();
        let message = length.to_string();
        assert_eq!(answer, Answer::Failed { message });
    }

    #[tokio::test]
    async fn a_process_that_hangs_is_given_up() {
        let deadline = Duration::from_millis(50);
        let error = ask(shell("exec /bin/sleep 600"), &request(), deadline).await;
        assert_eq!(
            error.unwrap_err().to_string(),
            "preparing the application took longer than 50ms"
        );
    }

    #[test]
    fn an_end_without_an_answer_tells_how_and_what_was_said() {
        let ended = |code| Some(Ended::now(code));
        assert_eq!(
            without_answer(ended(134), "thread main panicked\n"),
            "the process that prepares the application was killed by signal 6: thread main panicked"
        );
        assert_eq!(
            without_answer(ended(137), ""),
            "the process that prepares the application was killed, perhaps because memory ran out"
        );
        assert_eq!(
            without_answer(ended(1), ""),
            "the process that prepares the application ended with exit code 1"
        );
    }
}
