//! Spin and WASI interfaces that are never granted. Each function returns the interface's
//! own error for a call that is not granted. So a component that imports every interface,
//! as some toolchains create them, runs as long as it calls only what it was granted.
//!
//! The results are built from the types in the component's imports, so one table serves
//! every version of an interface.

use std::sync::Arc;

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType, Val};
use wasmtime::{AsContextMut, Engine, StoreContextMut};

use super::catalogue::{Status, status};
use crate::state::State;

/// How an interface reports that a call was not granted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// The first of these cases that its error type has.
    Case(&'static [&'static str]),
    /// The case `connection-failed`, with the address.
    Address,
    /// The case `invalid-input`, with the model.
    Model,
    /// No error: the call succeeds and does nothing.
    Quiet,
}

/// Whether an import belongs to a denied interface.
pub(crate) fn is_denied(import: &str) -> bool {
    answer(import).is_some()
}

fn answer(import: &str) -> Option<Answer> {
    match status(import) {
        Some(Status::Denied(answer)) => Some(answer),
        _ => None,
    }
}

/// A resource of a denied interface that a guest holds, such as the builder of a
/// connection: the address it is for.
struct Denied {
    address: Option<String>,
}

/// Adds a denied interface, with the types that a component imports.
pub(crate) fn deny(
    linker: &mut Linker<State>,
    engine: &Engine,
    import: &str,
    item: &ComponentItem,
) -> wasmtime::Result<()> {
    let (Some(answer), ComponentItem::ComponentInstance(interface)) = (answer(import), item) else {
        wasmtime::bail!("`{import}` is not an interface");
    };
    let mut instance = linker.instance(import)?;
    for (name, export) in interface.exports(engine) {
        match export.ty {
            ComponentItem::ComponentFunc(ty) => {
                let denial = Denial {
                    answer,
                    interface: import.into(),
                    function: name.into(),
                };
                denial.add(&mut instance, name, ty.async_())?;
            }
            ComponentItem::Resource(_) => {
                let ty = ResourceType::host::<Denied>();
                instance.resource(name, ty, |mut store, rep| {
                    let denied = Resource::<Denied>::new_own(rep);
                    store.data_mut().table.delete(denied)?;
                    Ok(())
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// How one function denies.
#[derive(Clone)]
struct Denial {
    answer: Answer,
    interface: Arc<str>,
    function: Arc<str>,
}

impl Denial {
    fn add(
        self,
        instance: &mut LinkerInstance<'_, State>,
        name: &str,
        concurrent: bool,
    ) -> wasmtime::Result<()> {
        if concurrent {
            return instance.func_new_concurrent(name, move |accessor, ty, params, results| {
                let denial = self.clone();
                Box::pin(async move {
                    accessor.with(|mut access| {
                        denial.answer(access.as_context_mut(), &ty, params, results)
                    })
                })
            });
        }
        instance.func_new(name, move |store, ty, params, results| {
            self.answer(store, &ty, params, results)
        })
    }

    fn answer(
        &self,
        mut store: StoreContextMut<'_, State>,
        ty: &ComponentFunc,
        params: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let what = self.what(&mut store, params)?;
        let mut denied = false;
        for (ty, result) in ty.results().zip(results) {
            *result = match &ty {
                Type::Own(_) => {
                    let address = what.clone();
                    let held = store.data_mut().table.push(Denied { address })?;
                    Val::Resource(held.try_into_resource_any(&mut store)?)
                }
                Type::Result(answer) if !self.is_harmless() => {
                    denied = true;
                    let error = answer.err().map(|ty| self.error(&ty, what.as_deref()));
                    Val::Result(Err(error.transpose()?.map(Box::new)))
                }
                ty => self.nothing(ty)?,
            };
        }
        if denied {
            let component = &store.data().grants().component;
            tracing::warn!(component_id = %component, interface = %self.interface, function = %self.function, of = what, "Call denied: nothing grants it");
        }
        Ok(())
    }

    /// Whether a call is allowed: what it prepares is denied when it is used.
    fn is_harmless(&self) -> bool {
        matches!(self.answer, Answer::Quiet)
            || &*self.function == "[method]connection-builder.set-ca-root"
    }

    /// The subject of a call, from its first parameter: an address, a label, a model, or a
    /// resource that was created for one.
    fn what(
        &self,
        store: &mut StoreContextMut<'_, State>,
        params: &[Val],
    ) -> wasmtime::Result<Option<String>> {
        Ok(match params.first() {
            Some(Val::String(text)) => Some(text.clone()),
            Some(Val::Resource(held)) => {
                let held: Resource<Denied> = held.try_into_resource(&mut *store)?;
                store.data_mut().table.get(&held)?.address.clone()
            }
            _ => None,
        })
    }

    fn error(&self, ty: &Type, what: Option<&str>) -> wasmtime::Result<Val> {
        let what = what.unwrap_or_default();
        let (cases, text): (&[&str], String) = match self.answer {
            Answer::Case(cases) => (cases, format!("access to `{what}` is not granted")),
            Answer::Address => (
                &["connection-failed"],
                format!("address {what} is not permitted"),
            ),
            Answer::Model => (
                &["invalid-input"],
                format!(
                    "model `{what}` is not granted: the component's `ai_models` does not list it"
                ),
            ),
            Answer::Quiet => (&[], String::new()),
        };
        match ty {
            Type::Enum(ty) => {
                let case = cases
                    .iter()
                    .find(|case| ty.names().any(|name| name == **case));
                case.map(|case| Val::Enum((*case).to_owned()))
            }
            Type::Variant(ty) => {
                let case = cases
                    .iter()
                    .find_map(|case| ty.cases().find(|found| found.name == *case));
                match case {
                    None => None,
                    Some(case) => {
                        let payload = match &case.ty {
                            None => None,
                            Some(Type::String) => Some(Val::String(text)),
                            Some(ty) => Some(self.nothing(ty)?),
                        };
                        Some(Val::Variant(case.name.to_owned(), payload.map(Box::new)))
                    }
                }
            }
            Type::String => Some(Val::String(text)),
            _ => None,
        }
        .ok_or_else(|| self.unknown("error"))
    }

    /// The simplest value of a type.
    fn nothing(&self, ty: &Type) -> wasmtime::Result<Val> {
        let payload = |ty: Option<Type>| -> wasmtime::Result<Option<Box<Val>>> {
            let value = ty.map(|ty| self.nothing(&ty)).transpose()?;
            Ok(value.map(Box::new))
        };
        Ok(match ty {
            Type::Bool => Val::Bool(false),
            Type::S8 => Val::S8(0),
            Type::U8 => Val::U8(0),
            Type::S16 => Val::S16(0),
            Type::U16 => Val::U16(0),
            Type::S32 => Val::S32(0),
            Type::U32 => Val::U32(0),
            Type::S64 => Val::S64(0),
            Type::U64 => Val::U64(0),
            Type::Float32 => Val::Float32(0.0),
            Type::Float64 => Val::Float64(0.0),
            Type::Char => Val::Char('\0'),
            Type::String => Val::String(String::new()),
            Type::List(_) => Val::List(Vec::new()),
            Type::Map(_) => Val::Map(Vec::new()),
            Type::Option(_) => Val::Option(None),
            Type::Flags(_) => Val::Flags(Vec::new()),
            Type::Record(ty) => {
                let mut fields = Vec::new();
                for field in ty.fields() {
                    let value = match (field.name, &field.ty) {
                        // The invalid span: its ids are this many zeros.
                        ("trace-id", Type::String) => Val::String("0".repeat(32)),
                        ("span-id", Type::String) => Val::String("0".repeat(16)),
                        (_, ty) => self.nothing(ty)?,
                    };
                    fields.push((field.name.to_owned(), value));
                }
                Val::Record(fields)
            }
            Type::Tuple(ty) => {
                let values = ty.types().map(|ty| self.nothing(&ty));
                Val::Tuple(values.collect::<wasmtime::Result<_>>()?)
            }
            Type::Enum(ty) => {
                let first = ty.names().next().map(str::to_owned);
                Val::Enum(first.ok_or_else(|| self.unknown("enum"))?)
            }
            Type::Variant(ty) => {
                let first = ty.cases().next().ok_or_else(|| self.unknown("variant"))?;
                Val::Variant(first.name.to_owned(), payload(first.ty)?)
            }
            Type::Result(ty) => Val::Result(Ok(payload(ty.ok())?)),
            _ => return Err(self.unknown("type")),
        })
    }

    /// The error for types that the known interfaces do not have.
    fn unknown(&self, what: &str) -> wasmtime::Error {
        wasmtime::format_err!(
            "`{}` of `{}` has an unexpected {what}, so the call cannot be denied",
            self.function,
            self.interface
        )
    }
}

#[cfg(test)]
mod tests;
