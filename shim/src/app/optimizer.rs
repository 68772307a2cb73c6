//! The optimising compiler that works on while an application already serves: a process
//! of lowest priority, which ends with the application, has a deadline, and remembers
//! what it gave up.

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
    /// For one of no size.
    least: Duration,
    /// What each MiB adds.
    per_mib: Duration,
}

impl Default for Deadline {
    /// The JavaScript sample of 12 MB takes 20 s; a slow node may take five times as long.
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

/// Of the machine's memory, all processes of this kind take a third.
const PART: u64 = 3;

/// How long the process may take in all, also where it is given no processor.
const LIFE: Duration = Duration::from_secs(30 * 60);

/// How often it looks at the time.
const LOOK: Duration = Duration::from_secs(1);

/// How often a component is tried where the process ends in the middle: killed for its
/// memory, or by the end of the machine.
const TRIES: u32 = 3;

/// The process, for whoever it works for. It ends when this is dropped, also by the end
/// of the whole process that has it.
#[derive(Debug)]
pub struct Optimizer {
    /// Closed with this, which the process notices.
    _owner: ChildStdin,
}

impl Optimizer {
    /// Starts it. Nobody waits for it: where it fails, the code that is there goes on
    /// serving.
    ///
    /// # Errors
    /// Where the process cannot be started.
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
            .context("cannot talk to the optimising compiler")?;
        Ok(Optimizer { _owner: owner })
    }
}

/// How often a component was tried without a result.
fn tries(cache: &Cache, key: &CodeKey) -> anyhow::Result<u32> {
    let note = cache.note(&name(key))?;
    // A note that is none is as good as none.
    Ok(note.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// Whether it is of no use to try a component again.
pub(super) fn gave_up(cache: &Cache, key: &CodeKey) -> anyhow::Result<bool> {
    Ok(tries(cache, key)? >= TRIES)
}

fn name(key: &CodeKey) -> String {
    format!("{key}.tries")
}

/// What is being compiled, for the thread that looks at the time.
struct Current {
    key: CodeKey,
    /// Tries before this one.
    before: u32,
    /// Of the process's processor time.
    until: Duration,
}

/// The process that [`Optimizer::start`] starts: below everything else that runs.
///
/// # Errors
/// Where the cache cannot be used, or a component is not what it was.
pub fn optimize() -> anyhow::Result<()> {
    ends_first().context("cannot offer itself to the kernel")?;
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
    // Whoever waits here is ended with its application as well.
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
        // The note and what it is about change together, as the process may be ended
        // whenever nobody holds this.
        let mut held = lock(current);
        cache.keep(&name(&key), (before + 1).to_string().as_bytes())?;
        *held = Some(now);
        drop(held);
        let compiled = cache.compile(&compiler, found.portable()?);
        let mut held = lock(current);
        *held = None;
        match compiled {
            Ok(_) => cache.forget(&name(&key))?,
            // It would say the same again.
            Err(skiff_engine::CacheError::Compile(_)) => give_up(cache, &key)?,
            Err(error) => {
                cache.forget(&name(&key))?;
                return Err(error.into());
            }
        }
        drop(held);
        // The component is not needed any more, and may be large.
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

/// Ends the process when its owner has ended, or a component takes too long. Compiling
/// cannot be interrupted in any other way.
fn watch(cache: Cache, current: Arc<Mutex<Option<Current>>>) {
    spawn(move || {
        let until = Instant::now() + LIFE;
        loop {
            let gone = owner_is_gone();
            let late = Instant::now() >= until;
            // Held to the end, so that no other component is begun meanwhile.
            let now = lock(&current);
            if gone {
                // It was not the component's fault.
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

/// Waits for the owner's end, but not long.
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
        // Nothing more is sent: this is the end.
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
