//! What is renamed in a component: found by reading it once, before it is written anew.

use std::collections::BTreeMap;

use wasmparser::component_types::{
    ComponentDefinedType, ComponentEntityType, ComponentInstanceTypeId, ComponentValType,
};
use wasmparser::types::TypesRef;
use wasmparser::{
    ComponentExternalKind, ComponentImport, ComponentInstance, ComponentTypeRef, Parser, Payload,
    Validator, WasmFeatures,
};

use super::candidate;
use crate::Cause;

/// The only function whose type changed while its candidate kept its name: most components
/// of that time have the type of the release already.
const TRAILERS: &str = "[method]future-trailers.get-rc20231110";

/// New names of an interface's functions.
pub(super) type Renames = BTreeMap<&'static str, &'static str>;

/// What is renamed in the outermost component.
#[derive(Default)]
pub(super) struct Plan {
    /// For imported instances with renamed functions, by their index.
    pub(super) instances: BTreeMap<u32, Renames>,
    /// For the types of these instances, by their index.
    pub(super) types: BTreeMap<u32, Renames>,
    /// The index of the first type of each section of types.
    pub(super) first_types: Vec<u32>,
}

impl Plan {
    /// # Errors
    /// If the component is not valid, or renaming would make it so.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Cause> {
        let mut plan = Plan::default();
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            let types = validator.types(0).filter(|_| depth == 1);
            let instances = types.map(|types| types.component_instance_count());
            if let (Payload::ComponentTypeSection(_), Some(types)) = (&payload, types) {
                plan.first_types.push(types.component_type_count());
            }
            // Code is not looked at.
            validator.payload(&payload)?;
            match payload {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    let types = validator.types(0).ok_or("no types")?;
                    let mut index = instances.ok_or("no instances")?;
                    for import in section {
                        let import = import?;
                        if let ComponentTypeRef::Instance(ty) = import.ty {
                            plan.note(&import, index, ty, types)?;
                            index += 1;
                        }
                    }
                }
                Payload::ComponentInstanceSection(section) if depth == 1 => {
                    for instance in section {
                        match instance? {
                            ComponentInstance::Instantiate { args, .. } => {
                                let mut args = args.iter();
                                args.try_for_each(|arg| plan.check(arg.kind, arg.index))?;
                            }
                            ComponentInstance::FromExports(exports) => {
                                let mut exports = exports.iter();
                                exports
                                    .try_for_each(|export| plan.check(export.kind, export.index))?;
                            }
                        }
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        let export = export?;
                        plan.check(export.kind, export.index)?;
                    }
                }
                _ => {}
            }
        }
        Ok(plan)
    }

    /// Notes the functions of an imported instance that get other names.
    fn note(
        &mut self,
        import: &ComponentImport<'_>,
        index: u32,
        ty: u32,
        types: TypesRef<'_>,
    ) -> Result<(), Cause> {
        let Some((interface, candidate)) = candidate(import.name.name) else {
            return Ok(());
        };
        let id = types.component_instance_at(index);
        let functions = candidate.functions.iter();
        let renames: Renames = functions
            .filter(|(of, name, _)| *of == interface && types[id].exports.contains_key(*name))
            .filter(|(_, name, to)| *to != TRAILERS || !is_released_type(types, id, name))
            .map(|(_, name, to)| (*name, *to))
            .collect();
        if renames.is_empty() {
            return Ok(());
        }
        if let Some(other) = self.types.insert(ty, renames.clone())
            && other != renames
        {
            return Err("two interfaces share a type".into());
        }
        self.instances.insert(index, renames);
        Ok(())
    }

    /// Refuses what hands on a whole instance whose functions get other names.
    fn check(&self, kind: ComponentExternalKind, index: u32) -> Result<(), Cause> {
        match kind == ComponentExternalKind::Instance && self.instances.contains_key(&index) {
            true => Err("it hands on an interface of a release candidate".into()),
            false => Ok(()),
        }
    }
}

/// Whether a function of an instance returns `option<result<result<…>>>`.
fn is_released_type(types: TypesRef<'_>, id: ComponentInstanceTypeId, function: &str) -> bool {
    let defined = |ty: ComponentValType| match ty {
        ComponentValType::Type(id) => Some(&types[id]),
        ComponentValType::Primitive(_) => None,
    };
    let result = match types[id].exports.get(function).map(|item| item.ty) {
        Some(ComponentEntityType::Func(function)) => types[function].result,
        _ => None,
    };
    let Some(ComponentDefinedType::Option { ty, .. }) = result.and_then(defined) else {
        return false;
    };
    let Some(ComponentDefinedType::Result { ok, .. }) = defined(*ty) else {
        return false;
    };
    let inner = ok.and_then(defined);
    matches!(inner, Some(ComponentDefinedType::Result { .. }))
}
