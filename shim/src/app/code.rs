//! From shipped bytes to compiled code: composed once, and compiled once per node, in two
//! tiers.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use skiff_artifact::{Digest, Prepared, PreparedComponent, PreparedDependency};
use skiff_compose::{GENERATION, WasmKind};
use skiff_engine::{Cache, Compiler, Portable, Tier};
use skiff_host::{ComponentKind, ImportError, Wanted, kind, needs_concurrency};
use skiff_manifest::{Application, Inherit};

use super::check;
use super::granted::capability;
use super::optimizer::{self, Deadline};
use crate::exit::{ExitCode, code_of};
use crate::settings::Settings;

/// Components of at least this size are compiled by the baseline compiler first. For
/// smaller ones the optimising compiler takes less than a tenth of a second, and a second
/// compilation would delay the first requests.
const BASELINE_FROM: usize = 1 << 20;

/// A request to a process that compiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileRequest {
    /// The components that triggers use.
    pub components: Vec<Parts>,
    /// Bytes of stack a guest may use.
    pub stack: usize,
    /// The cache's folder.
    pub cache: PathBuf,
    /// The size limit of the cache in bytes.
    pub cache_limit: u64,
    /// How long the optimising compiler may take in the background.
    pub deadline: Deadline,
}

/// The answer of a process that compiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompileReply {
    /// There is code for every component.
    Compiled {
        /// Digests of the composed components, by id.
        codes: BTreeMap<String, String>,
        /// Whether the code could still be optimised.
        optimize: bool,
    },
    /// At least one component has no code.
    Failed {
        /// Why.
        message: String,
        /// What kind of failure that is.
        kind: ExitCode,
    },
}

/// The code of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Digests of the composed components, by id.
    pub codes: BTreeMap<String, String>,
    /// The request for an [`Optimizer`](super::Optimizer) while the application serves.
    pub optimize: Option<CompileRequest>,
}

/// A failure of a process that compiles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileFailed {
    message: String,
    pub(crate) kind: ExitCode,
}

/// Waits for permission to do something that takes much memory; called before each such
/// step.
pub(crate) type Turn<'a> = &'a dyn Fn() -> anyhow::Result<()>;

/// A component's bytes and the dependencies it is composed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    id: String,
    wasm: PathBuf,
    digest: String,
    dependencies: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    name: String,
    wasm: PathBuf,
    digest: String,
    export: Option<String>,
    /// `None` stands for all grants.
    inherit: Option<Vec<String>>,
}

/// What is known about a composed component without reading it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// SHA-256 of the composed component.
    pub(super) digest: String,
    /// Names of its imports.
    pub(super) imports: Vec<String>,
    /// Names of its exports.
    pub(super) exports: Vec<String>,
    /// Whether it is a core module, a command of preview 1.
    pub(super) module: bool,
    /// Bytes of its largest linear memory at its start.
    pub(super) memory: u64,
    /// Bytes of the composed component.
    pub(super) size: usize,
}

impl Facts {
    /// How the component's trigger calls it.
    pub(super) fn kind(&self, wanted: Wanted) -> Result<ComponentKind, ImportError> {
        if self.module {
            return Ok(ComponentKind::CommandP1);
        }
        kind(self.exports.iter().map(String::as_str), wanted)
    }

    fn note(digest: &str) -> String {
        format!("{digest}.facts")
    }

    /// The facts that were recorded when the component was composed.
    pub(super) fn find(cache: &Cache, digest: &str) -> anyhow::Result<Option<Facts>> {
        let Some(text) = cache.note(&Facts::note(digest))? else {
            return Ok(None);
        };
        // A record of another version is treated as missing.
        Ok(serde_json::from_str(&text).ok())
    }
}

/// Whether any of these components needs an engine that calls concurrently.
pub(super) fn concurrency<'a>(facts: impl IntoIterator<Item = &'a Facts>) -> bool {
    facts.into_iter().any(|facts| {
        let names = facts.imports.iter().chain(&facts.exports);
        needs_concurrency(names.map(String::as_str))
    })
}

impl CompileRequest {
    pub(crate) fn new(
        prepared: &Prepared,
        application: &Application,
        settings: &Settings,
        cache: &Cache,
    ) -> Self {
        let used = check::used(application);
        let components = prepared
            .components
            .iter()
            .filter(|component| used.contains(component.id.as_str()))
            .map(|component| Parts {
                id: component.id.clone(),
                wasm: component.wasm.clone(),
                digest: component.digest.to_string(),
                dependencies: component
                    .dependencies
                    .iter()
                    .map(|dependency| Part {
                        name: dependency.name.clone(),
                        wasm: dependency.wasm.clone(),
                        digest: dependency.digest.to_string(),
                        export: dependency.export.clone(),
                        inherit: match &dependency.inherit {
                            Inherit::All => None,
                            Inherit::Some(keys) => Some(keys.clone()),
                        },
                    })
                    .collect(),
            })
            .collect();
        CompileRequest {
            components,
            stack: settings.engine.stack,
            cache: cache.folder().to_owned(),
            cache_limit: cache.limit(),
            deadline: Deadline::default(),
        }
    }

    pub(super) fn open_cache(&self) -> anyhow::Result<Cache> {
        Ok(Cache::open(&self.cache)?.with_limit(self.cache_limit))
    }
}

impl CompileRequest {
    /// What is known about each component without compiling it, and the errors of those
    /// that cannot be inspected.
    pub(super) fn facts(
        &self,
        cache: &Cache,
        turn: Turn<'_>,
    ) -> (BTreeMap<String, Facts>, Vec<String>) {
        let (mut all, mut wrong) = (BTreeMap::new(), Vec::new());
        for parts in &self.components {
            match parts.facts(cache, turn) {
                Ok((facts, _)) => drop(all.insert(parts.id.clone(), facts)),
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
        (all, wrong)
    }
}

impl Parts {
    fn prepared(&self) -> anyhow::Result<PreparedComponent> {
        let digest = |text: &str| text.parse::<Digest>().context("invalid digest");
        let mut dependencies = Vec::new();
        for part in &self.dependencies {
            dependencies.push(PreparedDependency {
                name: part.name.clone(),
                wasm: part.wasm.clone(),
                digest: digest(&part.digest)?,
                export: part.export.clone(),
                inherit: part.inherit.clone().map_or(Inherit::All, Inherit::Some),
            });
        }
        Ok(PreparedComponent {
            id: self.id.clone(),
            wasm: self.wasm.clone(),
            digest: digest(&self.digest)?,
            dependencies,
            mounts: Vec::new(),
        })
    }

    /// The composed component.
    fn compose(&self) -> anyhow::Result<Portable> {
        let built = skiff_compose::settle(self.prepared()?.build(capability)?.into());
        Ok(Portable::new(built.into_owned())?)
    }

    /// The name under which the facts about these parts are recorded.
    fn note(&self) -> anyhow::Result<String> {
        Ok(format!(
            "{}.source{GENERATION}",
            self.prepared()?.key().hex()
        ))
    }

    /// The recorded facts about the component, if it was composed before.
    fn known(&self, cache: &Cache) -> anyhow::Result<Option<Facts>> {
        match cache.note(&self.note()?)? {
            Some(digest) => Facts::find(cache, &digest),
            None => Ok(None),
        }
    }

    /// The facts about the component, and the component itself if it had to be composed.
    fn facts(&self, cache: &Cache, turn: Turn<'_>) -> anyhow::Result<(Facts, Option<Portable>)> {
        if let Some(facts) = self.known(cache)? {
            return Ok((facts, None));
        }
        turn()?;
        let portable = self.compose()?;
        let boundary = skiff_compose::boundary(portable.bytes())
            .with_context(|| format!("component `{}`", self.id))?;
        let facts = Facts {
            digest: portable.digest().to_owned(),
            imports: boundary.imports,
            exports: boundary.exports,
            module: boundary.kind == WasmKind::Module,
            memory: boundary.memory,
            size: portable.bytes().len(),
        };
        let text = serde_json::to_vec(&facts).context("cannot record a component's facts")?;
        cache.keep(&Facts::note(&facts.digest), &text)?;
        cache.keep(&self.note()?, facts.digest.as_bytes())?;
        Ok((facts, Some(portable)))
    }
}

/// A component and the facts about it.
pub(super) struct Found<'a> {
    parts: &'a Parts,
    pub(super) facts: Facts,
    /// The component itself, if it had to be composed already.
    pub(super) portable: Option<Portable>,
}

impl<'a> Found<'a> {
    pub(super) fn all(
        request: &'a CompileRequest,
        cache: &Cache,
        turn: Turn<'_>,
    ) -> anyhow::Result<Vec<Self>> {
        let find = |parts: &'a Parts| {
            let (facts, portable) = parts.facts(cache, turn)?;
            Ok(Found {
                parts,
                facts,
                portable,
            })
        };
        request.components.iter().map(find).collect()
    }

    pub(super) fn portable(&mut self) -> anyhow::Result<&Portable> {
        let portable = match self.portable.take() {
            Some(portable) => portable,
            None => self.parts.compose()?,
        };
        Ok(self.portable.insert(portable))
    }
}

/// The facts about the components, if optimised code exists for every one of them.
fn known(
    request: &CompileRequest,
    cache: &Cache,
) -> anyhow::Result<Option<BTreeMap<String, Facts>>> {
    let mut all = BTreeMap::new();
    for parts in &request.components {
        match parts.known(cache)? {
            Some(facts) => all.insert(parts.id.clone(), facts),
            None => return Ok(None),
        };
    }
    let compiler = Compiler::new(Tier::Optimized, concurrency(all.values()), request.stack)?;
    for facts in all.values() {
        if cache.find(&compiler.key(&facts.digest))?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(all))
}

/// Makes sure that every component has code, in either tier. Returns the facts about the
/// components, and whether the code could still be optimised.
pub(super) fn compile(
    request: &CompileRequest,
    cache: &Cache,
    turn: Turn<'_>,
) -> anyhow::Result<(BTreeMap<String, Facts>, bool)> {
    let mut all = Found::all(request, cache, turn)?;
    let concurrency = concurrency(all.iter().map(|found| &found.facts));
    let optimizing = Compiler::new(Tier::Optimized, concurrency, request.stack)?;
    let (mut large, mut optimize) = (false, false);
    for found in &all {
        let key = optimizing.key(&found.facts.digest);
        if cache.find(&key)?.is_none() {
            large |= found.facts.size >= BASELINE_FROM;
            optimize |= !optimizer::gave_up(cache, &key)?;
        }
    }
    let baseline_first = large && Tier::Baseline.is_available();
    if !baseline_first || !baseline(request, cache, concurrency, &mut all, turn)? {
        optimize = false;
        for found in &mut all {
            let id = &found.parts.id;
            if cache.find(&optimizing.key(&found.facts.digest))?.is_none() {
                turn()?;
                cache
                    .compile(&optimizing, found.portable()?)
                    .with_context(|| format!("component `{id}`"))?;
            }
        }
    }
    let facts = all.into_iter();
    let facts = facts.map(|found| (found.parts.id.clone(), found.facts));
    Ok((facts.collect(), optimize))
}

/// Answers a [`CompileRequest`].
pub fn answer(request: &CompileRequest) -> CompileReply {
    let compiled = request
        .open_cache()
        .and_then(|cache| compile(request, &cache, &|| Ok(())));
    match compiled {
        Ok((facts, optimize)) => CompileReply::Compiled {
            codes: digests(facts),
            optimize,
        },
        Err(error) => CompileReply::Failed {
            message: format!("{error:#}"),
            kind: code_of(&error),
        },
    }
}

pub(super) fn digests(facts: BTreeMap<String, Facts>) -> BTreeMap<String, String> {
    let digests = facts.into_iter();
    digests.map(|(id, facts)| (id, facts.digest)).collect()
}

/// Compiles in a separate process, so that this one keeps neither the compilers' memory
/// nor their threads. No process is started if all code exists already.
///
/// # Errors
/// The error that the process reported, or its failure to answer.
pub fn compile_apart(request: CompileRequest) -> anyhow::Result<Compiled> {
    // An unusable cache is reported before a process is started in vain. The cache is
    // tidied before the lookup, so that the code found is not removed.
    let cache = request.open_cache()?;
    cache.tidy();
    if let Some(facts) = known(&request, &cache)? {
        return Ok(Compiled {
            codes: digests(facts),
            optimize: None,
        });
    }
    let text = serde_json::to_vec(&request).context("cannot write the request")?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("skiff")
        .args(["internal", "compile"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot start the compiler")?;
    // It answers after reading everything, and its last output explains more than a
    // broken pipe.
    let sent = child.stdin.take().map(|mut stdin| stdin.write_all(&text));
    let output = child
        .wait_with_output()
        .context("cannot send the request to the compiler")?;
    match serde_json::from_slice(&output.stdout) {
        Ok(CompileReply::Compiled { codes, optimize }) => Ok(Compiled {
            codes,
            optimize: optimize.then_some(request),
        }),
        Ok(CompileReply::Failed { message, kind }) => Err(CompileFailed { message, kind }.into()),
        Err(_) => {
            if let Some(Err(error)) = sent {
                tracing::debug!(%error, "The compiler did not read its request");
            }
            bail!("the compiler ended without an answer ({})", output.status)
        }
    }
}

/// Compiles every component with the baseline compiler. Returns false if it does not
/// accept one of them; then the optimising compiler has to.
fn baseline(
    request: &CompileRequest,
    cache: &Cache,
    concurrency: bool,
    all: &mut [Found<'_>],
    turn: Turn<'_>,
) -> anyhow::Result<bool> {
    let compiler = Compiler::new(Tier::Baseline, concurrency, request.stack)?;
    for found in all {
        let id = &found.parts.id;
        if cache.find(&compiler.key(&found.facts.digest))?.is_some() {
            continue;
        }
        turn()?;
        match cache.compile(&compiler, found.portable()?) {
            Ok(_) => {}
            Err(skiff_engine::CacheError::Compile(error)) => {
                tracing::info!(component_id = %id, %error, "The baseline compiler does not take this component");
                return Ok(false);
            }
            Err(error) => return Err(error).with_context(|| format!("component `{id}`")),
        }
    }
    Ok(true)
}
