//! The optimising compiler that runs while an application already serves: a process of
//! lowest priority, which ends with the application, has a deadline, and remembers which
//! components it gave up on.

use std::io::{self, BufRead, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use skiff_engine::{Cache, CodeKey, Compiler, Tier};

use super::code::{CompileRequest, Found, concurrency};
use super::slots::{Share, Slots, ends_first};

/// Processor time that a component may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// The minimum, independent of size.
    least: Duration,
    /// Added for each MiB.
    per_mib: Duration,
}

impl Default for Deadline {
    /// The JavaScript sample of 12 MB takes 20 s; a slow node may take five times as
    /// long.
    fn default() -> Self {
        Deadline {
            least: Duration::from_secs(30),
            per_mib: Duration::from_secs(10),
        }
    }
}

impl Deadline {
    fn of(self, bytes: usize) -> Duration {
        let size = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        self.least.saturating_add(self.per_mib.saturating_mul(size))
    }
}

/// All processes of this kind together may use one third of the machine's memory.
const PART: u64 = 3;

/// The longest life of the process, even if it gets no processor time.
const LIFE: Duration = Duration::from_secs(30 * 60);

/// How often it checks the time.
const LOOK: Duration = Duration::from_secs(1);

/// How many times a component is tried if the process ends midway: killed for its memory
/// use, or because the machine stops.
const TRIES: u32 = 3;

/// The owner's handle to the process, which ends when this is dropped or when the owner's
/// process ends.
#[derive(Debug)]
pub struct Optimizer {
    /// Closed on drop, which the process notices.
    _owner: ChildStdin,
}

impl Optimizer {
    /// Starts the process without waiting for it. If it fails, the existing code stays in
    /// use.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(request: &CompileRequest) -> anyhow::Result<Self> {
        let mut text = serde_json::to_vec(request).context("cannot write the request")?;
        text.push(b'\n');
        let mut child = Command::new("/proc/self/exe")
            .arg0("skiff")
            .args(["internal", "optimize"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start the optimising compiler")?;
        let mut owner = child.stdin.take().context("a standard stream is missing")?;
        owner
            .write_all(&text)
            .context("cannot send the request to the optimising compiler")?;
        Ok(Optimizer { _owner: owner })
    }
}

/// How many times a component was tried without a result.
fn tries(cache: &Cache, key: &CodeKey) -> anyhow::Result<u32> {
    let note = cache.note(&name(key))?;
    // An invalid note is treated as missing.
    Ok(note.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// Whether trying a component again is pointless.
pub(super) fn gave_up(cache: &Cache, key: &CodeKey) -> anyhow::Result<bool> {
    Ok(tries(cache, key)? >= TRIES)
}

fn name(key: &CodeKey) -> String {
    format!("{key}.tries")
}

/// What is being compiled, for the thread that watches the time.
struct Current {
    key: CodeKey,
    /// Tries before this one.
    before: u32,
    /// A limit on the process's total processor time.
    until: Duration,
}

/// Runs the process that [`Optimizer::start`] starts, at the lowest priority.
///
/// # Errors
/// If the cache cannot be used, or a component has changed.
pub fn optimize() -> anyhow::Result<()> {
    ends_first().context("cannot raise the out-of-memory score")?;
    rustix::process::nice(19).context("cannot lower the priority")?;
    let share = Share::of_this_machine(PART);
    let limit = Rlimit {
        current: Some(share.memory),
        maximum: Some(share.memory),
    };
    setrlimit(Resource::Data, limit).context("cannot limit memory")?;
    let mut text = String::new();
    io::stdin()
        .lock()
        .read_line(&mut text)
        .context("cannot read the request")?;
    let request: CompileRequest = serde_json::from_str(&text).context("cannot read the request")?;
    drop(text);
    let cache = request.open_cache()?;
    let current = Arc::new(Mutex::new(None));
    watch(cache.clone(), Arc::clone(&current));
    // If the application ends, a process waiting here is ended as well.
    let slots = Slots::new(&request.cache, "optimize", share.count);
    let _turn = slots.take(LIFE).context("cannot wait for a turn")?;
    work(&request, &cache, &current)
}

fn work(
    request: &CompileRequest,
    cache: &Cache,
    current: &Mutex<Option<Current>>,
) -> anyhow::Result<()> {
    let mut all = Found::all(request, cache, &|| Ok(()))?;
    let concurrency = concurrency(all.iter().map(|found| &found.facts));
    let compiler = Compiler::new(Tier::Optimized, concurrency, request.stack)?;
    for found in &mut all {
        let key = compiler.key(&found.facts.digest);
        while cache.is_compiling(&key) {
            sleep(LOOK);
        }
        if cache.find(&key)?.is_some() || gave_up(cache, &key)? {
            continue;
        }
        let before = tries(cache, &key)?;
        let deadline = request.deadline.of(found.facts.size);
        let now = Current {
            key: key.clone(),
            before,
            until: processor_time().saturating_add(deadline),
        };
        // The note and its subject change together, because the process may be ended
        // whenever this lock is free.
        let mut held = lock(current);
        cache.keep(&name(&key), (before + 1).to_string().as_bytes())?;
        *held = Some(now);
        drop(held);
        let compiled = cache.compile(&compiler, found.portable()?);
        let mut held = lock(current);
        *held = None;
        match compiled {
            Ok(_) => cache.forget(&name(&key))?,
            // Another attempt would fail the same way.
            Err(skiff_engine::CacheError::Compile(_)) => give_up(cache, &key)?,
            Err(error) => {
                cache.forget(&name(&key))?;
                return Err(error.into());
            }
        }
        drop(held);
        // The component is no longer needed, and may be large.
        found.portable = None;
    }
    Ok(())
}

fn give_up(cache: &Cache, key: &CodeKey) -> anyhow::Result<()> {
    cache.keep(&name(key), TRIES.to_string().as_bytes())?;
    Ok(())
}

fn lock(current: &Mutex<Option<Current>>) -> MutexGuard<'_, Option<Current>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process when its owner has ended or a component takes too long. Compiling
/// cannot be interrupted in any other way.
fn watch(cache: Cache, current: Arc<Mutex<Option<Current>>>) {
    spawn(move || {
        let until = Instant::now() + LIFE;
        loop {
            let gone = owner_is_gone();
            let late = Instant::now() >= until;
            // Held until the end, so that no other component is started meanwhile.
            let now = lock(&current);
            if gone {
                // The component is not to blame.
                if let Some(now) = now.as_ref() {
                    let before = now.before.to_string();
                    let noted = match now.before {
                        0 => cache.forget(&name(&now.key)),
                        _ => cache.keep(&name(&now.key), before.as_bytes()).map(drop),
                    };
                    end(noted.map_err(Into::into));
                }
                end(Ok(()));
            }
            if let Some(now) = now.as_ref()
                && processor_time() >= now.until
            {
                end(give_up(&cache, &now.key));
            }
            if late {
                end(Ok(()));
            }
        }
    });
}

fn end(noted: anyhow::Result<()>) -> ! {
    let code = match noted {
        Ok(()) => crate::exit::ExitCode::Success,
        Err(_) => crate::exit::ExitCode::State,
    };
    std::process::exit(code.number())
}

/// Waits briefly for the owner to end.
fn owner_is_gone() -> bool {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
    let timeout = LOOK.try_into().ok();
    match poll(&mut polled, timeout.as_ref()) {
        Ok(0) => false,
        Err(_) => {
            sleep(LOOK);
            false
        }
        // The owner sends nothing more, so this is the end of the stream.
        Ok(_) => matches!(stdin.lock().read(&mut [0]), Ok(0)),
    }
}

fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is the caller's, and the call fills it.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
