//! Isolates a dependency from grants of its parent that it does not inherit.
//!
//! Its imports of those capabilities are satisfied by a generated component with the same
//! interfaces, which traps in every function. Interfaces that only describe types
//! (`wasi:http/types`, `wasi:io/streams`) stay the host's.

use std::borrow::Cow;

use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions};
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, MemorySection, MemoryType,
    Module, TypeSection, ValType,
};
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{
    LiftLowerAbi, ManglingAndAbi, Resolve, Type, TypeDefKind, WasmExport, WasmExportKind, WorldId,
    WorldItem,
};

use crate::Cause;
use crate::compose::{Inherit, export_all};

/// A capability that an interface gives to a component, and that a dependency may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// The key of `inherit_configuration` that passes it on.
    pub key: &'static str,
    /// Whether language runtimes call it when they start. If it is not inherited, its
    /// functions that return lists then return empty ones; all others trap.
    pub is_called_at_start: bool,
}

/// Maps an interface's name without a version to its capability. `None` if the interface
/// may stay the host's, because it only describes types or gives nothing that is granted.
pub type Capabilities = fn(&str) -> Option<Capability>;

/// How `wit-component` names exports.
const MANGLING: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);

/// Why a dependency cannot be isolated.
#[derive(Debug, thiserror::Error)]
pub enum IsolateError {
    /// The component cannot be read.
    #[error("it is not a valid component")]
    Invalid {
        /// The position and the error.
        #[source]
        source: Cause,
    },
    /// No replacement for the imports can be generated.
    #[error("cannot generate a replacement for its imports {imports}")]
    StandIn {
        /// The imports, quoted.
        imports: String,
        /// The cause.
        #[source]
        source: Cause,
    },
}

/// Replaces every capability import of `component` that is not inherited.
///
/// Without such an import the bytes stay unchanged.
pub(crate) fn isolate<'a>(
    component: &'a [u8],
    inherit: Inherit<'_>,
    capabilities: Capabilities,
) -> Result<Cow<'a, [u8]>, IsolateError> {
    let Inherit::Keys(keys) = inherit else {
        return Ok(Cow::Borrowed(component));
    };
    let mut graph = CompositionGraph::new();
    let package = Package::from_bytes("dependency", None, component, graph.types_mut()).map_err(
        |source| IsolateError::Invalid {
            source: source.into(),
        },
    )?;
    let denied: Vec<String> = graph.types()[package.ty()]
        .imports
        .keys()
        .filter(|import| is_denied(import, keys, capabilities))
        .cloned()
        .collect();
    if denied.is_empty() {
        return Ok(Cow::Borrowed(component));
    }
    let plug = || -> Result<Vec<u8>, Cause> {
        let stand_in = stand_in(component, &denied, capabilities)?;
        let world = package.ty();
        let package = graph.register_package(package)?;
        let instance = graph.instantiate(package);
        let plug = Package::from_bytes("stand-in", None, stand_in, graph.types_mut())?;
        let plug = graph.register_package(plug)?;
        let plug = graph.instantiate(plug);
        for import in &denied {
            let node = graph.alias_instance_export(plug, import)?;
            graph.set_instantiation_argument(instance, import, node)?;
        }
        export_all(&mut graph, world, instance)?;
        Ok(graph.encode(EncodeOptions::default())?)
    };
    plug().map(Cow::Owned).map_err(|source| {
        let quoted: Vec<String> = denied.iter().map(|name| format!("`{name}`")).collect();
        IsolateError::StandIn {
            imports: quoted.join(", "),
            source,
        }
    })
}

/// The capability that `import` gives, whatever its version.
fn capability(import: &str, capabilities: Capabilities) -> Option<Capability> {
    capabilities(import.split('@').next().unwrap_or(import))
}

fn is_denied(import: &str, inherited: &[String], capabilities: Capabilities) -> bool {
    capability(import, capabilities)
        .is_some_and(|capability| !inherited.iter().any(|key| key == capability.key))
}

/// A component that exports `interfaces`, with the types by which `component` imports
/// them.
fn stand_in(
    component: &[u8],
    interfaces: &[String],
    capabilities: Capabilities,
) -> Result<Vec<u8>, Cause> {
    let DecodedWasm::Component(mut resolve, _) = wit_component::decode(component)? else {
        return Err("a WIT package instead of a component".into());
    };
    let exports: String = interfaces
        .iter()
        .map(|interface| format!("  export {interface};\n"))
        .collect();
    let package = resolve.push_str(
        "stand-in.wit",
        &format!("package skiff-stand-in:denied;\nworld denied {{\n{exports}}}\n"),
    )?;
    let world = resolve.select_world(&[package], Some("denied"))?;
    let mut module = trapping_module(&resolve, world, capabilities);
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    Ok(ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .encode()?)
}

/// A core module with every function that `world` exports.
fn trapping_module(resolve: &Resolve, world: WorldId, capabilities: Capabilities) -> Vec<u8> {
    let mut parts = Parts::default();
    for (key, item) in &resolve.worlds[world].exports {
        let WorldItem::Interface { id, .. } = item else {
            continue;
        };
        let starts = resolve
            .id_of(*id)
            .and_then(|interface| capability(&interface, capabilities))
            .is_some_and(|capability| capability.is_called_at_start);
        for function in resolve.interfaces[*id].functions.values() {
            let signature = resolve.wasm_signature(AbiVariant::GuestExport, function);
            let name = resolve.wasm_export_name(
                MANGLING,
                WasmExport::Func {
                    interface: Some(key),
                    func: function,
                    kind: WasmExportKind::Normal,
                },
            );
            let empty = starts
                && signature.retptr
                && function.result.is_some_and(|ty| can_be_empty(resolve, ty));
            parts.function(
                &name,
                signature.params.iter().map(flat),
                signature.results.iter().map(flat),
                if empty { Body::Zero } else { Body::Trap },
            );
        }
    }
    let realloc = resolve.wasm_export_name(MANGLING, WasmExport::Realloc);
    parts.function(&realloc, [ValType::I32; 4], [ValType::I32], Body::Trap);
    let memory = resolve.wasm_export_name(MANGLING, WasmExport::Memory);
    parts.exports.export(&memory, ExportKind::Memory, 0);
    parts.finish()
}

/// Whether zeroed memory means an empty list or none.
fn can_be_empty(resolve: &Resolve, ty: Type) -> bool {
    let Type::Id(id) = ty else {
        return false;
    };
    match &resolve.types[id].kind {
        TypeDefKind::List(_) | TypeDefKind::Option(_) => true,
        TypeDefKind::Type(alias) => can_be_empty(resolve, *alias),
        _ => false,
    }
}

fn flat(ty: &WasmType) -> ValType {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => ValType::I32,
        WasmType::I64 | WasmType::PointerOrI64 => ValType::I64,
        WasmType::F32 => ValType::F32,
        WasmType::F64 => ValType::F64,
    }
}

/// What a function of the generated module does.
enum Body {
    Trap,
    /// Returns the address of untouched and therefore zeroed memory.
    Zero,
}

/// The sections of a module under construction.
#[derive(Default)]
struct Parts {
    types: TypeSection,
    functions: FunctionSection,
    exports: ExportSection,
    code: CodeSection,
}

impl Parts {
    fn function(
        &mut self,
        name: &str,
        params: impl IntoIterator<Item = ValType, IntoIter: ExactSizeIterator>,
        results: impl IntoIterator<Item = ValType, IntoIter: ExactSizeIterator>,
        body: Body,
    ) {
        let index = self.functions.len();
        self.types.ty().function(params, results);
        self.functions.function(index);
        self.exports.export(name, ExportKind::Func, index);
        let mut code = Function::new([]);
        match body {
            Body::Trap => code.instructions().unreachable(),
            Body::Zero => code.instructions().i32_const(0),
        };
        code.instructions().end();
        self.code.function(&code);
    }

    fn finish(self) -> Vec<u8> {
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: 1,
            maximum: Some(1),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut module = Module::new();
        module
            .section(&self.types)
            .section(&self.functions)
            .section(&memories)
            .section(&self.exports)
            .section(&self.code);
        module.finish()
    }
}
