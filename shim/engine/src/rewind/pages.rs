//! Tracks which pages of a memory a guest has written to, and their previous content.
//!
//! A watched memory is read-only. The first write to a page causes a fault; its content is
//! saved, and the page becomes writable. Instances of one component start with the same
//! memory, so they share saved pages: those that one has written to are writable in the
//! next from the start. Copying the saved pages back restores an instance, without a system
//! call and independent of the memory's size.
//!
//! If the kernel itself writes to a watched page on behalf of a process, it returns an
//! error instead of a fault. Nothing here makes it read into a guest's memory:
//! `wasmtime-wasi` and our own interfaces copy.

use std::cell::Cell;
use std::ffi::c_void;
use std::io;
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::sync::{Arc, OnceLock};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

/// The most pages saved per memory. Interpreters write to some hundred; an instance that
/// writes to more is recreated.
const MOST: usize = 512;

/// The most kernel mappings that the memories of a process may be split into: the default
/// limit of a process is 65,530, and mapping more fails.
const MOST_PIECES: usize = 16_000;

/// The current number.
static PIECES: AtomicUsize = AtomicUsize::new(0);

/// How many more mappings an open page, or a run of them, creates.
const PIECES_MORE: usize = 2;

/// The original content of pages, for all instances of a component in this process.
pub(super) struct Kept {
    /// Page numbers, in the order of their first write.
    pages: Box<[AtomicU32]>,
    count: AtomicUsize,
    /// The contents in the same order: mapped, and allocated on first use.
    contents: ptr::NonNull<u8>,
    page: usize,
    /// Held briefly by the thread that adds one.
    adding: AtomicBool,
    full: AtomicBool,
}

// SAFETY: the contents are written once, by the holder of `adding`, and read up to `count`.
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

impl Kept {
    pub(super) fn new() -> io::Result<Arc<Kept>> {
        let page = rustix::param::page_size();
        // SAFETY: it is a new mapping, which is not used elsewhere.
        let contents = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                MOST * page,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let contents = ptr::NonNull::new(contents.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Arc::new(Kept {
            pages: (0..MOST).map(|_| AtomicU32::new(0)).collect(),
            count: AtomicUsize::new(0),
            contents,
            page,
            adding: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }))
    }

    /// Whether guests write to more pages than can be saved.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Acquire)
    }

    fn pages(&self) -> impl Iterator<Item = usize> {
        let pages = self.pages.iter().take(self.count.load(Acquire));
        pages.map(|page| page.load(Relaxed) as usize)
    }

    fn content(&self, at: usize) -> *mut u8 {
        // SAFETY: callers are below `MOST`, for which the mapping has room.
        unsafe { self.contents.as_ptr().add(at * self.page) }
    }

    /// Saves a page's content and returns its index; `None` if there is no room. Runs in a
    /// signal handler.
    ///
    /// # Safety
    /// `from` is the page, and can be read.
    unsafe fn keep(&self, number: usize, from: *const u8) -> Option<usize> {
        while self.adding.swap(true, AcqRel) {
            std::hint::spin_loop();
        }
        let at = self.pages().position(|page| page == number).or_else(|| {
            let at = self.count.load(Relaxed);
            let slot = self.pages.get(at)?;
            // SAFETY: this one is not read before it is counted; the caller guarantees
            // the other.
            unsafe { ptr::copy_nonoverlapping(from, self.content(at), self.page) };
            slot.store(u32::try_from(number).ok()?, Relaxed);
            self.count.store(at + 1, Release);
            Some(at)
        });
        if at.is_none() {
            self.full.store(true, Release);
        }
        self.adding.store(false, Release);
        at
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no pointer into it is left.
        unsafe { rustix::mm::munmap(self.contents.as_ptr().cast(), MOST * self.page).ok() };
    }
}

/// A memory that is watched until this is dropped, which has to be before its instance.
pub(super) struct Watched {
    base: *mut u8,
    length: usize,
    kept: Arc<Kept>,
    /// Which of the saved pages are writable here.
    open: Box<[AtomicBool]>,
    /// Its share of `PIECES`.
    pieces: AtomicUsize,
    /// Everything is writable, as there were too many pages or pieces.
    lost: AtomicBool,
}

// SAFETY: the memory belongs to the instance, and the owner of this also owns that.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    /// Watches this many bytes of memory.
    ///
    /// # Safety
    /// They are an instance's memory: pages of its own, mapped to be read and written for
    /// as long as this lives, and their protection is changed only here. Each of their kernel
    /// mappings has been written to; otherwise it stays split into the pieces made here.
    ///
    /// # Errors
    /// If the kernel refuses to make them read-only.
    pub(super) unsafe fn new(base: *mut u8, length: usize, kept: &Arc<Kept>) -> io::Result<Self> {
        handle_faults()?;
        let watched = Watched {
            base,
            length,
            kept: Arc::clone(kept),
            open: (0..MOST).map(|_| AtomicBool::new(false)).collect(),
            pieces: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
        };
        watched.protect(0, length, MprotectFlags::READ)?;
        let mut pages: Vec<_> = kept.pages().enumerate().collect();
        for (at, _) in &pages {
            watched.open[*at].store(true, Relaxed);
        }
        pages.sort_unstable_by_key(|(_, page)| *page);
        for run in pages.chunk_by(|(_, one), (_, next)| one + 1 == *next) {
            if let [(_, first), ..] = run {
                let page = kept.page;
                if !watched.takes_pieces() {
                    return Err(io::ErrorKind::QuotaExceeded.into());
                }
                watched.protect(first * page, run.len() * page, WRITABLE)?;
            }
        }
        Ok(watched)
    }

    /// Whether more pieces are allowed.
    fn takes_pieces(&self) -> bool {
        if PIECES.fetch_add(PIECES_MORE, Relaxed) >= MOST_PIECES {
            PIECES.fetch_sub(PIECES_MORE, Relaxed);
            return false;
        }
        self.pieces.fetch_add(PIECES_MORE, Relaxed);
        true
    }

    fn protect(&self, from: usize, length: usize, how: MprotectFlags) -> rustix::io::Result<()> {
        // SAFETY: it is within the memory, which the callers check; contents do not
        // change.
        unsafe { rustix::mm::mprotect(self.base.add(from).cast(), length, how) }
    }

    /// Makes a page writable after a write to it. Runs in a signal handler.
    fn touched(&self, address: usize) -> bool {
        let Some(offset) = address.checked_sub(self.base.addr()) else {
            return false;
        };
        if offset >= self.length || self.lost.load(Relaxed) {
            return false;
        }
        let page = self.kept.page;
        let (number, from) = (offset / page, offset / page * page);
        // SAFETY: it is within the memory, which can be read.
        let at = unsafe { self.kept.keep(number, self.base.add(from)) };
        match at.map(|at| &self.open[at]) {
            // It is writable already, so the fault has another cause.
            Some(open) if open.swap(true, Relaxed) => false,
            Some(_) if self.takes_pieces() && self.protect(from, page, WRITABLE).is_ok() => true,
            // There are too many pages, or too many pieces.
            _ => {
                self.lost.store(true, Relaxed);
                self.protect(0, self.length, WRITABLE).is_ok()
            }
        }
    }

    /// Restores the memory; `false` if its original content is not known.
    pub(super) fn rewind(&self) -> bool {
        if self.lost.load(Relaxed) {
            return false;
        }
        let page = self.kept.page;
        for (at, number) in self.kept.pages().enumerate() {
            if self.open[at].load(Relaxed) {
                // SAFETY: the page is within the memory and can be written to; what was
                // kept of it is elsewhere. No guest runs, as its store is not in use.
                unsafe {
                    let to = self.base.add(number * page);
                    ptr::copy_nonoverlapping(self.kept.content(at), to, page);
                }
            }
        }
        true
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Err(error) = self.protect(0, self.length, WRITABLE) {
            // The next user of the memory would end the process without any message.
            tracing::error!(%error, "A guest's memory cannot be made writable again");
            std::process::abort();
        }
        PIECES.fetch_sub(self.pieces.load(Relaxed), Relaxed);
    }
}

const WRITABLE: MprotectFlags = MprotectFlags::READ.union(MprotectFlags::WRITE);

thread_local! {
    /// The memories of the guest that runs on this thread.
    static RUNNING: Cell<*const [Watched]> = const { Cell::new(&[]) };
}

/// Runs a function as the guest with these memories.
pub(super) fn running<T>(memories: &[Watched], run: impl FnOnce() -> T) -> T {
    struct Back(*const [Watched]);
    impl Drop for Back {
        fn drop(&mut self) {
            RUNNING.set(self.0);
        }
    }
    let _back = Back(RUNNING.replace(memories));
    run()
}

/// The previous fault handler: wasmtime's, to which this one passes on.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the fault handler, once per process.
fn handle_faults() -> io::Result<()> {
    static TAKEN: OnceLock<bool> = OnceLock::new();
    let taken = *TAKEN.get_or_init(|| {
        // SAFETY: all zeros is valid for these plain structures, and the handler does nothing
        // that a signal handler must not do.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGSEGV, ptr::null(), &mut before) != 0 {
                return false;
            }
            BEFORE.get_or_init(|| before);
            let mut ours: libc::sigaction = std::mem::zeroed();
            ours.sa_sigaction = on_fault as *const () as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigaction(libc::SIGSEGV, &ours, ptr::null_mut()) == 0
        }
    });
    taken
        .then_some(())
        .ok_or_else(|| io::Error::other("cannot install the fault handler"))
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes valid pointers; a thread's memories live while its guest runs.
    unsafe {
        let address = (*info).si_addr().addr();
        let memories = &*RUNNING.get();
        if memories.iter().any(|memory| memory.touched(address)) {
            return;
        }
        let Some(before) = BEFORE.get() else {
            return;
        };
        match before.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {
                // The fault occurs again and ends the process.
                libc::sigaction(signal, before, ptr::null_mut());
            }
            handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) =
                    std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(i32) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}
