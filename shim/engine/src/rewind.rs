//! Making an instance what it was when it was made, instead of making another: for a
//! request that is to have an instance of its own, that is the same, and costs a fraction.
//!
//! All that a request can change is made what it was: memory ([`pages`]), globals (what
//! [`inject`] adds), and what the host holds, which is the host's to do. Where a component
//! has more than that, it is left as it is, and its instances are made anew. An instance
//! whose memory has grown, or that was not left in order, is not rewound. Handles that a
//! guest has not dropped stay in wasmtime's table, without what they were of: the numbers
//! of new ones may be others.

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
    /// Whether it is worth it: what cannot be rewound counts more than what can.
    tried: AtomicI32,
}

struct Inside {
    save: ComponentExportIndex,
    restore: ComponentExportIndex,
    memory: Option<(ComponentExportIndex, OnceLock<Arc<Kept>>)>,
    /// Pages of the memory of the first instance.
    size: OnceLock<u32>,
}

/// What an instance was when it was made. It has to be dropped before the instance's
/// store is.
pub struct Beginning {
    memories: Vec<Watched>,
    modules: Vec<(TypedFunc<(), (u32,)>, u32)>,
}

impl Rewinds {
    /// Where so many more could not be rewound than could, it is not tried any more.
    const WORTH: i32 = 32;
    /// What one that could not be rewound counts.
    const FAILED: i32 = 4;

    /// None where instances of the component cannot be rewound.
    pub fn of(component: &Component) -> Option<Rewinds> {
        // There, the kernel may write for a guest whose address is not aligned, and does
        // not fault as the guest would.
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

    /// Whether instances are to be rewound. Where the guest changes too much, they are not.
    pub fn are_worth_it(&self) -> bool {
        self.tried.load(Relaxed) < Self::WORTH
    }

    /// Takes down what an instance is, right after it was made.
    ///
    /// # Errors
    /// Where the instance cannot be used any more.
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
            // Memory that was refused to one while it was made: they do not begin alike.
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
                    tracing::debug!(%error, "An instance cannot be watched, so it is made anew");
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

    /// Makes an instance what it was when it was made; false where that cannot be.
    ///
    /// # Errors
    /// Where the instance cannot be used any more.
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
    /// Runs the guest. It must not run otherwise.
    pub fn run<F: Future>(&self, guest: F) -> impl Future<Output = F::Output> {
        Running {
            memories: &self.memories,
            guest: Some(guest),
        }
    }
}

/// A guest whose memories are known to who handles faults while it runs.
struct Running<'a, F> {
    memories: &'a [Watched],
    /// None when it has ended.
    guest: Option<F>,
}

impl<F: Future> Future for Running<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the guest is not moved, and there is no other way to it.
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
    /// A guest that has not ended is taken down where it is.
    fn drop(&mut self) {
        let Running { memories, guest } = self;
        pages::running(memories, || *guest = None);
    }
}
