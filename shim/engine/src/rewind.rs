//! Restores an instance to its initial state instead of creating another. For a request
//! that needs a fresh instance this is equivalent, at a fraction of the cost.
//!
//! Everything a request can change is restored: memory ([`pages`]), globals (by what
//! [`inject`] adds), and the host's state, which the host restores. A component with other
//! state is left unchanged, and its instances are recreated. An instance whose memory has
//! grown, or that failed, is not rewound. Handles that a guest has not dropped stay in
//! wasmtime's table, without their resources: new handles may get other numbers.

use std::pin::Pin;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, TypedFunc, WasmList};

mod inject;
mod pages;

pub(crate) use inject::{PREFIX, VERSION, has_our_names, rewindable};
use pages::{Kept, Watched};

/// How the instances of a component are rewound.
pub struct Rewinds {
    modules: Vec<Inside>,
    /// Whether it pays off: failed rewinds count more than successful ones.
    tried: AtomicI32,
}

struct Inside {
    save: ComponentExportIndex,
    restore: ComponentExportIndex,
    memory: Option<(ComponentExportIndex, OnceLock<Arc<Kept>>)>,
    /// Pages of the first instance's memory.
    size: OnceLock<u32>,
}

/// The initial state of an instance. It has to be dropped before the instance's store.
pub struct Beginning {
    memories: Vec<Watched>,
    modules: Vec<(TypedFunc<(), (u32,)>, u32)>,
}

impl Rewinds {
    /// Rewinding stops once failures outweigh successes by this much.
    const WORTH: i32 = 32;
    /// The weight of an instance that could not be rewound.
    const FAILED: i32 = 4;

    /// `None` if instances of the component cannot be rewound.
    pub fn of(component: &Component) -> Option<Rewinds> {
        // There, the kernel may emulate a guest's write to an unaligned address, without
        // the fault that the guest itself would cause.
        if cfg!(target_arch = "riscv64") {
            return None;
        }
        let index = |name: &str, number: usize| {
            component.get_export_index(None, format!("{name}n{number}"))
        };
        let modules: Vec<_> = (0..)
            .map_while(|number| {
                Some(Inside {
                    save: index(inject::SAVE, number)?,
                    restore: index(inject::RESTORE, number)?,
                    memory: index(inject::MEMORY, number).map(|it| (it, OnceLock::new())),
                    size: OnceLock::new(),
                })
            })
            .collect();
        (!modules.is_empty()).then_some(Rewinds {
            modules,
            tried: AtomicI32::new(0),
        })
    }

    /// Whether instances are to be rewound. They are not if the guest changes too much.
    pub fn are_worth_it(&self) -> bool {
        self.tried.load(Relaxed) < Self::WORTH
    }

    /// Records the initial state of an instance that was just created.
    ///
    /// # Errors
    /// If the instance can no longer be used.
    pub async fn begin<T: Send + 'static>(
        &self,
        store: &mut Store<T>,
        instance: &Instance,
    ) -> wasmtime::Result<Option<Beginning>> {
        let mut beginning = Beginning {
            memories: Vec::new(),
            modules: Vec::new(),
        };
        for inside in &self.modules {
            let save = instance.get_typed_func::<(), ()>(&mut *store, inside.save)?;
            save.call_async(&mut *store, ()).await?;
            let restore = instance.get_typed_func::<(), (u32,)>(&mut *store, inside.restore)?;
            let (size,) = restore.call_async(&mut *store, ()).await?;
            beginning.modules.push((restore, size));
            // A memory growth was refused to one during its start: initial states differ.
            if *inside.size.get_or_init(|| size) != size {
                self.failed();
                return Ok(None);
            }
            let Some((memory, kept)) = &inside.memory else {
                continue;
            };
            let tells = instance.get_typed_func::<(), (WasmList<u8>,)>(&mut *store, *memory)?;
            let (list,) = tells.call_async(&mut *store, ()).await?;
            let base = list.as_le_slice(&*store).as_ptr().cast_mut();
            let kept = match kept.get() {
                Some(kept) => Ok(kept),
                None => Kept::new().map(|made| kept.get_or_init(|| made)),
            };
            let length = size as usize * WASM_PAGE;
            if kept.as_ref().is_ok_and(|kept| kept.is_full()) {
                self.failed();
                return Ok(None);
            }
            // SAFETY: this is where the memory of the instance begins, and what it has;
            // only the store, which outlives this, changes it.
            let watched = kept.and_then(|kept| unsafe { Watched::new(base, length, kept) });
            match watched {
                Ok(watched) => beginning.memories.push(watched),
                Err(error) => {
                    tracing::debug!(%error, "An instance's memory cannot be watched, so the instance is recreated");
                    self.failed();
                    return Ok(None);
                }
            }
        }
        Ok(Some(beginning))
    }

    fn failed(&self) {
        self.tried.fetch_add(Self::FAILED, Relaxed);
    }

    /// Restores the initial state of an instance; `false` where that is not possible.
    ///
    /// # Errors
    /// If the instance can no longer be used.
    pub async fn rewind<T: Send + 'static>(
        &self,
        beginning: &Beginning,
        store: &mut Store<T>,
    ) -> wasmtime::Result<bool> {
        for (restore, size) in &beginning.modules {
            let restored = restore.call_async(&mut *store, ());
            let (now,) = beginning.run(restored).await?;
            if now != *size {
                self.failed();
                return Ok(false);
            }
        }
        if !beginning.memories.iter().all(Watched::rewind) {
            self.failed();
            return Ok(false);
        }
        if self.tried.load(Relaxed) > 0 {
            self.tried.fetch_sub(1, Relaxed);
        }
        Ok(true)
    }
}

/// Bytes of a page of a linear memory.
const WASM_PAGE: usize = 64 << 10;

impl Beginning {
    /// Runs the guest. It must not run in any other way.
    pub fn run<F: Future>(&self, guest: F) -> impl Future<Output = F::Output> {
        Running {
            memories: &self.memories,
            guest: Some(guest),
        }
    }
}

/// A guest whose memories are known to the fault handler while it runs.
struct Running<'a, F> {
    memories: &'a [Watched],
    /// `None` after it has ended.
    guest: Option<F>,
}

impl<F: Future> Future for Running<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the guest is not moved, and cannot be accessed in another way.
        let (memories, guest) = unsafe {
            let this = self.get_unchecked_mut();
            (this.memories, Pin::new_unchecked(&mut this.guest))
        };
        match guest.as_pin_mut() {
            Some(guest) => pages::running(memories, || guest.poll(cx)),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Running<'_, F> {
    /// A guest that has not ended is torn down here.
    fn drop(&mut self) {
        let Running { memories, guest } = self;
        pages::running(memories, || *guest = None);
    }
}
