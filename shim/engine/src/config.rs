//! The engine's configuration: one function creates it, for compiling and running.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::os::fd::AsRawFd;

use wasmparser::{CompositeInnerType, Parser, Payload, RefType};
use wasmtime::component::Component;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, Module, OptLevel, PoolingAllocationConfig,
    Precompiled, ResourcesRequired, Strategy,
};

use crate::rewind;
use crate::{Code, CodeKey, Native, Portable, Resources, Ticks};

/// Stack that host functions need on top of what a guest may use. wasmtime's
/// own default leaves 1.5 MiB; host calls nest shallowly here.
const HOST_STACK: usize = 512 << 10;

/// The most memories and tables that one component may have. Composed Python applications
/// reach a few dozen.
const MAX_PER_COMPONENT: u32 = 200;

/// Elements a pooled table has room for. Interpreters need up to 20,000.
const TABLE_ELEMENTS: usize = 100_000;

/// Which compiler made the code. It is part of the cache's key: code of one tier does not
/// load in an engine of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Winch: quick to compile, nearly as quick to run.
    Baseline,
    /// Cranelift.
    Optimized,
}

impl Tier {
    /// The name in file names and logs.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Baseline => "baseline",
            Tier::Optimized => "optimized",
        }
    }

    /// Whether the compiler supports this processor.
    pub fn is_available(self) -> bool {
        match self {
            Tier::Baseline => cfg!(any(target_arch = "x86_64", target_arch = "aarch64")),
            Tier::Optimized => true,
        }
    }
}

/// How many instances a pool has room for, and how large they may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Instances that exist at once.
    pub instances: u32,
    /// What the application's largest component needs.
    pub resources: Resources,
}

/// Why an engine could not be created or code could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refused the configuration.
    #[error("cannot set up the WebAssembly engine")]
    Configure(#[source] wasmtime::Error),
    /// Cached code that does not fit this engine.
    #[error("cannot load compiled code {key}")]
    Load {
        /// Its key.
        key: CodeKey,
        /// Wasmtime's error.
        source: wasmtime::Error,
    },
}

/// A component that the compiler refused. The source names the feature it needs that is not
/// offered.
#[derive(Debug, thiserror::Error)]
#[error("cannot compile with the {} compiler", tier.name())]
pub struct CompileError {
    /// The tier it was compiled for.
    pub tier: Tier,
    /// Wasmtime's error.
    #[source]
    pub source: wasmtime::Error,
}

/// The configuration of a tier. `concurrency` is enabled if a component of the application
/// needs WASI 0.3: it costs the others a tenth of their speed.
fn config(tier: Tier, concurrency: bool, stack: usize) -> Config {
    let mut config = Config::new();
    config
        .strategy(match tier {
            Tier::Baseline => Strategy::Winch,
            Tier::Optimized => Strategy::Cranelift,
        })
        .concurrency_support(concurrency)
        .epoch_interruption(true)
        .max_wasm_stack(stack)
        .async_stack_size(stack + HOST_STACK)
        // An address map doubles the size of the code; traps name functions without it.
        .generate_address_map(false)
        .native_unwind_info(false)
        .memory_init_cow(true);
    if tier == Tier::Optimized {
        config.cranelift_opt_level(OptLevel::Speed);
    }
    if concurrency {
        config.wasm_component_model_async(true);
    }
    if !has_vectors() {
        // Otherwise Cranelift panics instead of refusing.
        config.wasm_simd(false).wasm_relaxed_simd(false);
    }
    config
}

/// Whether this processor has the instructions that SIMD needs; on RISC-V they are an
/// extension.
fn has_vectors() -> bool {
    #[cfg(target_arch = "riscv64")]
    {
        const V: libc::c_ulong = 1 << (b'v' - b'a');
        // SAFETY: it reads what the kernel passed to the process at its start.
        unsafe { libc::getauxval(libc::AT_HWCAP) & V != 0 }
    }
    #[cfg(not(target_arch = "riscv64"))]
    true
}

/// A component in the form that wasmtime can compile for this processor.
fn compilable(portable: &Portable) -> wasmtime::Result<Cow<'_, [u8]>> {
    #[cfg(target_arch = "riscv64")]
    if !has_vectors() {
        return Ok(crate::copies::of_unknown_length(portable.bytes())?);
    }
    Ok(Cow::Borrowed(portable.bytes()))
}

fn pooling(pool: &Pool) -> PoolingAllocationConfig {
    let instances = pool.instances.max(1);
    let Resources {
        memories,
        tables,
        table_elements,
    } = pool.resources;
    let mut pooling = PoolingAllocationConfig::default();
    pooling
        .total_component_instances(instances)
        // They are only counted; what they consist of has its own limits.
        .total_core_instances(u32::MAX)
        .max_core_instances_per_component(u32::MAX)
        .total_memories(instances.saturating_mul(memories.max(1)))
        .max_memories_per_component(MAX_PER_COMPONENT)
        .max_memories_per_module(MAX_PER_COMPONENT)
        .total_tables(instances.saturating_mul(tables.max(1)))
        .max_tables_per_component(MAX_PER_COMPONENT)
        .max_tables_per_module(MAX_PER_COMPONENT)
        .total_gc_heaps(instances)
        .table_elements(TABLE_ELEMENTS.max(usize::try_from(table_elements).unwrap_or(0)))
        .total_stacks(instances)
        .max_core_instance_size(10 << 20)
        .max_component_instance_size(10 << 20)
        // wasmtime 48 looks for dirty pages among those that are present: one that was
        // swapped out, or that the kernel moves just then, is left to the next instance.
        .pagemap_scan(Enabled::No);
    pooling
}

/// Wasmtime's version, as used in `--version` and the cache's key.
pub fn version() -> &'static str {
    env!("SKIFF_WASMTIME_VERSION")
}

/// Compiles for a tier.
pub struct Compiler {
    engine: Engine,
    tier: Tier,
    configuration: u64,
}

impl Compiler {
    /// A compiler of `tier`; `concurrency` and `stack` (bytes a guest may use) must match
    /// those of the [`Runner`] that loads the code.
    ///
    /// # Errors
    /// Where wasmtime refuses the configuration on this processor.
    pub fn new(tier: Tier, concurrency: bool, stack: usize) -> Result<Self, EngineError> {
        let engine =
            Engine::new(&config(tier, concurrency, stack)).map_err(EngineError::Configure)?;
        let configuration = configuration(&engine);
        Ok(Compiler {
            engine,
            tier,
            configuration,
        })
    }

    /// The key of a component's code.
    pub fn key(&self, digest: &str) -> CodeKey {
        CodeKey::new(digest, self.tier, self.configuration)
    }

    /// Compiles on all cores that this process may use.
    pub(crate) fn compile(
        &self,
        portable: &Portable,
    ) -> Result<(Vec<u8>, Resources), CompileError> {
        let failed = |source| CompileError {
            tier: self.tier,
            source,
        };
        let bytes = compilable(portable).map_err(failed)?;
        // The same bytes as `serialize`, which copies byte by byte: a tenth of a second for
        // a large interpreter.
        let (code, required) = if Parser::is_core_wasm(&bytes) {
            let module = Module::new(&self.engine, &bytes).map_err(failed)?;
            // SAFETY: the range is the module's own mapping, which lives as long as it
            // does and is never written to.
            let code = unsafe { copy(module.image_range()) };
            (code, Some(module.resources_required()))
        } else {
            let component = self.component(&bytes).map_err(failed)?;
            // SAFETY: as above.
            let code = unsafe { copy(component.image_range()) };
            (code, component.resources_required())
        };
        let resources = resources(required.as_ref(), has_heap(&bytes));
        loadable(&resources, &bytes).map_err(failed)?;
        Ok((code, resources))
    }
}

impl Compiler {
    /// Compiles a component so that its instances can be rewound, if possible.
    fn component(&self, bytes: &[u8]) -> wasmtime::Result<Component> {
        if rewind::has_our_names(bytes) {
            wasmtime::bail!(
                "it has an export whose name begins with `{}`, which is Skiff's own",
                rewind::PREFIX
            );
        }
        match rewind::rewindable(bytes) {
            Ok(rewindable) => match Component::new(&self.engine, rewindable) {
                Ok(component) => return Ok(component),
                // If it is the component's own fault, the compilation below reports it.
                Err(error) => tracing::debug!(%error, "Instances are not rewound"),
            },
            Err(unfit) => tracing::debug!(?unfit, "Instances are not rewound"),
        }
        Component::new(&self.engine, bytes)
    }
}

/// Copies a range of memory.
///
/// # Safety
/// The range is of one allocation, and can be read as long as this takes.
unsafe fn copy(range: Range<*const u8>) -> Vec<u8> {
    // SAFETY: the caller guarantees it.
    unsafe {
        let length = range.end.offset_from_unsigned(range.start);
        std::slice::from_raw_parts(range.start, length).to_vec()
    }
}

/// What an instance takes from the pool. A heap for garbage-collected objects counts as a
/// memory.
fn resources(required: Option<&ResourcesRequired>, heap: bool) -> Resources {
    Resources {
        memories: required.map_or(1, |required| required.num_memories) + u32::from(heap),
        tables: required.map_or(1, |required| required.num_tables),
        table_elements: required
            .and_then(|required| required.max_initial_table_size)
            .unwrap_or_default(),
    }
}

/// Refuses what would compile but not load into a pool.
fn loadable(resources: &Resources, bytes: &[u8]) -> wasmtime::Result<()> {
    if has_shared_memory(bytes) {
        wasmtime::bail!("it has a shared memory, which is not offered");
    }
    for (count, what) in [
        (resources.memories, "memories"),
        (resources.tables, "tables"),
    ] {
        if count > MAX_PER_COMPONENT {
            wasmtime::bail!("it has {count} {what}, over the limit of {MAX_PER_COMPONENT}");
        }
    }
    Ok(())
}

/// Whether a module in it has a shared memory. The bytes are valid.
fn has_shared_memory(bytes: &[u8]) -> bool {
    Parser::new(0)
        .parse_all(bytes)
        .any(|payload| match payload {
            Ok(Payload::MemorySection(memories)) => {
                memories.into_iter().flatten().any(|memory| memory.shared)
            }
            _ => false,
        })
}

/// Whether instances may have a garbage-collected heap: for structures, arrays, exceptions,
/// or a table of anything but functions. The bytes are valid.
fn has_heap(bytes: &[u8]) -> bool {
    Parser::new(0)
        .parse_all(bytes)
        .any(|payload| match payload {
            Ok(Payload::TypeSection(types)) => types.into_iter().flatten().any(|group| {
                group.types().any(|ty| {
                    matches!(
                        ty.composite_type.inner,
                        CompositeInnerType::Struct(_) | CompositeInnerType::Array(_)
                    )
                })
            }),
            Ok(Payload::TableSection(tables)) => tables
                .into_iter()
                .flatten()
                .any(|table| table.ty.element_type != RefType::FUNCREF),
            Ok(Payload::TagSection(_)) => true,
            _ => false,
        })
}

/// An engine that runs the code of a [`Compiler`] of the same tier.
#[derive(Debug)]
pub struct Runner {
    engine: Engine,
    tier: Tier,
    concurrency: bool,
    ticks: Ticks,
}

impl Runner {
    /// An engine with a pool. If the address space has no room for the pool (39-bit
    /// systems, small limits), instances are allocated one by one.
    ///
    /// # Errors
    /// Where wasmtime refuses the configuration on this processor.
    pub fn new(
        tier: Tier,
        concurrency: bool,
        stack: usize,
        pool: &Pool,
    ) -> Result<Self, EngineError> {
        let mut config = config(tier, concurrency, stack);
        // Stacks go back to the kernel with their instances, as memories and tables do: what
        // many at once have used is not kept when they are gone.
        config.async_stack_zeroing(true);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(pool)));
        let engine = match Engine::new(&config) {
            Ok(engine) => engine,
            Err(error) => {
                tracing::warn!(%error, instances = pool.instances, "No room for an instance pool; instances are allocated one by one");
                config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
                Engine::new(&config).map_err(EngineError::Configure)?
            }
        };
        let ticks = Ticks::of(&engine);
        Ok(Runner {
            engine,
            tier,
            concurrency,
            ticks,
        })
    }

    /// The engine, for linkers and stores.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Keeps this engine's guests interruptible; hold it as long as their stores, which may
    /// outlive the runner.
    pub fn ticks(&self) -> Ticks {
        self.ticks.clone()
    }

    /// The tier it runs.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Whether components may be called concurrently (WASI 0.3).
    pub fn concurrency(&self) -> bool {
        self.concurrency
    }

    /// Maps compiled code; nothing is read before it runs.
    ///
    /// # Errors
    /// If the code was made for another configuration.
    pub fn load(&self, native: &Native) -> Result<Code, EngineError> {
        // By descriptor and not by name: the checked file is the mapped file.
        let path = format!("/proc/self/fd/{}", native.file.as_raw_fd());
        let path = if std::path::Path::new(&path).exists() {
            path.into()
        } else {
            native.path.clone()
        };
        // SAFETY: a `Native` was written by `Cache::compile` with our own engine,
        // into a file that only root or this very user can write (`Cache::find`
        // checked owner, mode and seal of the open file), so its contents are
        // what wasmtime serialized; its header is checked against this engine.
        let code = unsafe {
            match Engine::detect_precompiled_file(&path) {
                Ok(Some(Precompiled::Module)) => {
                    Module::deserialize_file(&self.engine, path).map(Code::Module)
                }
                _ => Component::deserialize_file(&self.engine, path).map(Code::Component),
            }
        };
        code.map_err(|source| EngineError::Load {
            key: native.key.clone(),
            source,
        })
    }
}

/// A hash of everything that decides whether code fits an engine.
fn configuration(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    version().hash(&mut hasher);
    rewind::VERSION.hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_does_not_change_what_code_fits() {
        let pool = Pool {
            instances: 2,
            resources: Resources {
                memories: 1,
                tables: 1,
                table_elements: 10,
            },
        };
        for tier in [Tier::Baseline, Tier::Optimized] {
            let compiler = Compiler::new(tier, false, 1 << 20).unwrap();
            let runner = Runner::new(tier, false, 1 << 20, &pool).unwrap();
            assert_eq!(compiler.configuration, configuration(runner.engine()));
        }
    }

    #[test]
    fn a_tier_is_available_where_its_compiler_can_be_made() {
        for tier in [Tier::Baseline, Tier::Optimized] {
            let compiler = Compiler::new(tier, false, 1 << 20);
            assert_eq!(compiler.is_ok(), tier.is_available(), "{tier:?}");
        }
    }

    #[test]
    fn tiers_and_concurrency_have_keys_of_their_own() {
        let keys: std::collections::BTreeSet<_> = [
            (Tier::Baseline, false),
            (Tier::Baseline, true),
            (Tier::Optimized, false),
            (Tier::Optimized, true),
        ]
        .into_iter()
        .map(|(tier, concurrency)| {
            Compiler::new(tier, concurrency, 1 << 20)
                .unwrap()
                .key("d")
                .to_string()
        })
        .collect();
        assert_eq!(keys.len(), 4);
    }
}
