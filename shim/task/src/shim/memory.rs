//! Keeps a shim small. There is one for each pod, and it is nearly always idle, so all
//! memory that it holds is lost to the node.

use std::mem::MaybeUninit;

use anyhow::Context;
use containerd_shimkit::AmbientRuntime;
use containerd_shimkit::zygote::Zygote;
use rustix::param::page_size;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Stack below the caller that is left alone: frames of currently running functions.
const STACK_IN_USE: usize = 16 << 10;

/// Makes all threads share one arena of the allocator: a shim does little at a time, and
/// otherwise each of a dozen threads would keep its own memory.
pub(crate) fn use_one_arena() {
    // SAFETY: no other thread runs yet.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Starts shimkit's runtime with a single worker; by default it has one per usable CPU.
/// Start the zygote first, while there is one thread.
pub(crate) fn start_small_runtime() -> anyhow::Result<()> {
    Zygote::init();
    let all = sched_getaffinity(None).context("cannot read the CPU affinity")?;
    let mut first = CpuSet::new();
    if let Some(cpu) = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)) {
        first.set(cpu);
        sched_setaffinity(None, &first).context("cannot set the CPU affinity")?;
        async {}.block_on();
    }
    // The worker has inherited the restriction to one CPU; remove it there as well.
    for thread in std::fs::read_dir("/proc/self/task").context("cannot list threads")? {
        let name = thread.context("cannot list threads")?.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        if let Some(thread) = id.and_then(rustix::process::Pid::from_raw) {
            sched_setaffinity(Some(thread), &all).context("cannot set the CPU affinity")?;
        }
    }
    Ok(())
}

/// Returns memory that the last call needed to the kernel: free heap, and the part of
/// this thread's stack that deeper calls have used.
pub(crate) fn give_back() {
    // SAFETY: the allocator locks what it trims.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    if let Some((lowest, size)) = unused_stack() {
        // SAFETY: the range lies below everything on this thread's stack that is
        // in use, and what is below is undefined until it is written again.
        unsafe { libc::madvise(lowest as *mut libc::c_void, size, libc::MADV_DONTNEED) };
    }
}

/// Start and size of the whole pages of this thread's stack below all frames.
fn unused_stack() -> Option<(usize, usize)> {
    let here = 0u8;
    let mut attributes = MaybeUninit::uninit();
    let mut lowest = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the attributes are initialised by the first call where it succeeds,
    // only read if so, and destroyed once.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
    }
    let lowest = lowest as usize;
    let here = (&raw const here) as usize;
    if !(lowest..lowest + size).contains(&here) {
        return None;
    }
    let end = here.checked_sub(STACK_IN_USE)? & !(page_size() - 1);
    Some((lowest, end.checked_sub(lowest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn use_stack(depth: usize) -> usize {
        let page = [depth as u8; 4096];
        match depth {
            0 => 0,
            _ => use_stack(depth - 1) + usize::from(std::hint::black_box(page)[depth]),
        }
    }

    #[test]
    fn a_thread_goes_on_after_its_stack_was_given_back() {
        let thread = std::thread::spawn(|| {
            let kept = String::from("kept");
            let before = use_stack(100);
            give_back();
            (kept, before, use_stack(100))
        });
        let (kept, before, after) = thread.join().unwrap();
        assert_eq!((kept.as_str(), before), ("kept", after));
    }

    #[test]
    fn only_stack_below_the_caller_is_unused() {
        let here = 0u8;
        let (lowest, size) = unused_stack().unwrap();
        assert!(lowest + size < (&raw const here) as usize);
        assert_eq!((lowest + size) % page_size(), 0);
    }
}
