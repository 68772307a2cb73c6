//! Composes a component with the components that satisfy some of its imports.

use std::borrow::Cow;
use std::collections::BTreeMap;

use wac_graph::types::{Package, WorldId};
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

use crate::componentize::callable;
use crate::interfaces::Name;
use crate::isolate::{Capabilities, IsolateError, isolate};
use crate::{Cause, ComponentizeError, componentize};

/// A component that satisfies imports of another one.
#[derive(Debug, Clone, Copy)]
pub struct Dependency<'a> {
    /// The imports: a plain name, or `namespace:package[/interface][@version]`.
    pub name: &'a str,
    /// A component or a core module.
    pub bytes: &'a [u8],
    /// The export to use, if its name differs from the import's.
    pub export: Option<&'a str>,
    /// Which of the parent's grants it may use.
    pub inherit: Inherit<'a>,
}

/// Which of the parent's grants a dependency may use.
#[derive(Debug, Clone, Copy)]
pub enum Inherit<'a> {
    /// Every one.
    All,
    /// Only those of these keys of `inherit_configuration`; unknown keys grant nothing.
    Keys(&'a [String]),
}

/// Why components cannot be composed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The parent is not a component and cannot be made into one.
    #[error("the component cannot be used")]
    Parent {
        /// The rule that it breaks.
        #[source]
        source: ComponentizeError,
    },
    /// The same for a dependency.
    #[error("dependency `{dependency}` cannot be used")]
    Dependency {
        /// Its name in the application.
        dependency: String,
        /// The rule that it breaks.
        #[source]
        source: ComponentizeError,
    },
    /// A component that is damaged beyond its header.
    #[error("`{component}` is not a valid component")]
    Invalid {
        /// `component` for the parent, else the dependency's name.
        component: String,
        /// The position and the error.
        #[source]
        source: Cause,
    },
    /// The name itself is malformed.
    #[error(
        "`{dependency}` is not a dependency's name: expected a kebab-case name or `namespace:package[/interface][@version]`"
    )]
    Name {
        /// As it was written.
        dependency: String,
    },
    /// The parent has no import of that name.
    #[error(
        "dependency `{dependency}` matches no import of the component, which imports {imports}"
    )]
    Unmatched {
        /// The dependency's name.
        dependency: String,
        /// All existing imports, as a list in words.
        imports: String,
    },
    /// Two dependencies match the same import.
    #[error("import `{import}` is matched by two dependencies, `{first}` and `{second}`")]
    Conflict {
        /// The import.
        import: String,
        /// The first of the two.
        first: String,
        /// The second of the two.
        second: String,
    },
    /// The dependency lacks the export that the import needs.
    #[error("dependency `{dependency}` does not export `{export}`, which import `{import}` needs")]
    MissingExport {
        /// The dependency's name.
        dependency: String,
        /// The export looked for.
        export: String,
        /// The import to satisfy.
        import: String,
    },
    /// It has an export of that name, but with another type.
    #[error("export `{export}` of dependency `{dependency}` does not fit import `{import}`")]
    Incompatible {
        /// The dependency's name.
        dependency: String,
        /// The export used.
        export: String,
        /// The import to satisfy.
        import: String,
        /// How the types differ.
        #[source]
        source: Cause,
    },
    /// The dependency cannot be isolated from grants that it does not inherit.
    #[error("dependency `{dependency}` cannot be isolated")]
    Isolate {
        /// The dependency's name.
        dependency: String,
        /// The cause.
        #[source]
        source: IsolateError,
    },
    /// The parts are valid individually, but do not fit together.
    #[error("the component and its dependencies cannot be joined")]
    Join {
        /// The cause.
        #[source]
        source: Cause,
    },
}

/// Composes a component and its dependencies into one self-contained component, which
/// exports what the parent exports and imports only what remains.
///
/// Core modules among them are made into components first ([`componentize`]); only a
/// preview 1 command without dependencies stays unchanged. A dependency's imports of
/// capabilities that it does not inherit trap when they are called (but the environment
/// and the list of directories are empty instead, so that language runtimes start). The
/// host's `capabilities` decides which imports belong to which capability.
///
/// # Errors
///
/// [`ComposeError`] names the dependency and, if there is one, the import.
pub fn compose<'a>(
    parent: &'a [u8],
    dependencies: &[Dependency<'_>],
    capabilities: Capabilities,
) -> Result<Cow<'a, [u8]>, ComposeError> {
    let unusable = |source| ComposeError::Parent { source };
    if dependencies.is_empty() {
        return callable(parent).map_err(unusable);
    }
    let parent = componentize(parent).map_err(unusable)?;
    let mut composer = Composer::new(parent.into_owned())?;
    let plan = composer.plan(dependencies)?;
    for (dependency, imports) in dependencies.iter().zip(plan) {
        composer.satisfy(dependency, &imports, capabilities)?;
    }
    composer.finish().map(Cow::Owned)
}

struct Composer {
    graph: CompositionGraph,
    world: WorldId,
    instance: NodeId,
}

impl Composer {
    fn new(parent: Vec<u8>) -> Result<Self, ComposeError> {
        let mut graph = CompositionGraph::new();
        let (world, instance) = instantiate(&mut graph, "component", parent)?;
        Ok(Self {
            graph,
            world,
            instance,
        })
    }

    /// The imports that each dependency satisfies.
    fn plan(&self, dependencies: &[Dependency<'_>]) -> Result<Vec<Vec<String>>, ComposeError> {
        let imports = &self.graph.types()[self.world].imports;
        let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
        let mut plan = Vec::with_capacity(dependencies.len());
        for dependency in dependencies {
            let name = Name::parse(dependency.name).ok_or_else(|| ComposeError::Name {
                dependency: dependency.name.to_owned(),
            })?;
            let mut matched = Vec::new();
            for import in imports.keys() {
                if !Name::parse(import).is_some_and(|import| name.satisfies(&import)) {
                    continue;
                }
                if let Some(first) = taken.insert(import, dependency.name) {
                    return Err(ComposeError::Conflict {
                        import: import.clone(),
                        first: first.to_owned(),
                        second: dependency.name.to_owned(),
                    });
                }
                matched.push(import.clone());
            }
            if matched.is_empty() {
                return Err(ComposeError::Unmatched {
                    dependency: dependency.name.to_owned(),
                    imports: in_words(imports.keys()),
                });
            }
            plan.push(matched);
        }
        Ok(plan)
    }

    /// Adds one dependency to the graph and connects its exports to the parent.
    fn satisfy(
        &mut self,
        dependency: &Dependency<'_>,
        imports: &[String],
        capabilities: Capabilities,
    ) -> Result<(), ComposeError> {
        let name = || dependency.name.to_owned();
        let bytes = componentize(dependency.bytes).map_err(|source| ComposeError::Dependency {
            dependency: name(),
            source,
        })?;
        let bytes = isolate(&bytes, dependency.inherit, capabilities).map_err(|source| {
            ComposeError::Isolate {
                dependency: name(),
                source,
            }
        })?;
        let (world, instance) = instantiate(&mut self.graph, dependency.name, bytes.into_owned())?;
        for import in imports {
            let export = dependency.export.unwrap_or(import);
            if !self.graph.types()[world].exports.contains_key(export) {
                return Err(ComposeError::MissingExport {
                    dependency: name(),
                    export: export.to_owned(),
                    import: import.clone(),
                });
            }
            let node = self
                .graph
                .alias_instance_export(instance, export)
                .map_err(|source| ComposeError::Join {
                    source: source.into(),
                })?;
            self.graph
                .set_instantiation_argument(self.instance, import, node)
                .map_err(|source| ComposeError::Incompatible {
                    dependency: name(),
                    export: export.to_owned(),
                    import: import.clone(),
                    source: source.into(),
                })?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, ComposeError> {
        export_all(&mut self.graph, self.world, self.instance)
            .and_then(|()| Ok(self.graph.encode(EncodeOptions::default())?))
            .map_err(|source| ComposeError::Join { source })
    }
}

fn instantiate(
    graph: &mut CompositionGraph,
    name: &str,
    bytes: Vec<u8>,
) -> Result<(WorldId, NodeId), ComposeError> {
    let invalid = |source: Cause| ComposeError::Invalid {
        component: name.to_owned(),
        source,
    };
    let package = Package::from_bytes(name, None, bytes, graph.types_mut())
        .map_err(|source| invalid(source.into()))?;
    let world = package.ty();
    let package = graph
        .register_package(package)
        .map_err(|source| invalid(source.into()))?;
    Ok((world, graph.instantiate(package)))
}

/// Exports every export of `instance` from the composition.
pub(crate) fn export_all(
    graph: &mut CompositionGraph,
    world: WorldId,
    instance: NodeId,
) -> Result<(), Cause> {
    let names: Vec<String> = graph.types()[world].exports.keys().cloned().collect();
    for name in names {
        let node = graph.alias_instance_export(instance, &name)?;
        graph.export(node, &name)?;
    }
    Ok(())
}

fn in_words<'a>(imports: impl Iterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = imports.map(|import| format!("`{import}`")).collect();
    if quoted.is_empty() {
        "nothing".to_owned()
    } else {
        quoted.join(", ")
    }
}
