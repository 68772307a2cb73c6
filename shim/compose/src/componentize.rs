//! Converts core modules to components, with the standard preview 1 adapters.

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as ADAPTER_NAME,
    WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use crate::exit::keep_code;
use crate::legacy::renew;
use crate::lend::lend;
use crate::module::{ModuleError, ModuleInfo};
use crate::{Cause, WasmKind, is_precompiled, kind};

/// The first clang whose wasi-libc does not corrupt memory in `realloc` when used with
/// the adapter (wasi-libc issue 377); commands that need the adapter are refused if they
/// were built with older ones.
const FIRST_SOUND_CLANG: [u64; 3] = [15, 0, 7];

/// Why a binary cannot be made into a component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentizeError {
    /// Neither a core module nor a component.
    #[error(
        "not a WebAssembly binary: it starts with neither the header of a module nor of a component"
    )]
    NotWasm,
    /// Native code instead of WebAssembly.
    #[error("precompiled native code instead of WebAssembly: only portable bytes are accepted")]
    Precompiled,
    /// A module that is truncated or damaged.
    #[error("the core module cannot be read")]
    Damaged {
        /// The position and the error.
        #[source]
        source: wasmparser::BinaryReaderError,
    },
    /// Bindings whose world cannot be read.
    #[error("the world in the core module's `component-type` section cannot be read")]
    World {
        /// The position and the error.
        #[source]
        source: Cause,
    },
    /// Bindings of a version outside the range that can be adapted.
    #[error(
        "cannot adapt modules created with wit-bindgen version {version}: 0.5 or later (below 1.0) is needed"
    )]
    WitBindgen {
        /// The version as written in the module.
        version: String,
    },
    /// A module without an entry point.
    #[error(
        "the core module has no entry point: it is neither a command (it exports no `_start`) nor made with bindings of a world (wit-bindgen 0.5 or later)"
    )]
    NoEntryPoint,
    /// A toolchain with a known memory corruption.
    #[error(
        "the command module was compiled with clang {version}, whose wasi-libc corrupts memory: rebuild it with clang 15.0.7 or later"
    )]
    Clang {
        /// The version as written in the module.
        version: String,
    },
    /// The adapter does not fit the module.
    #[error("the core module cannot be made into a component")]
    Encode {
        /// The encoder's error.
        #[source]
        source: Cause,
    },
}

/// Makes a core module into a component; a component is returned unchanged.
///
/// A module with bindings of a world (wit-bindgen 0.5 or later) uses the reactor adapter.
/// One that starts with `_start` and whose world exports nothing uses the command
/// adapter, and then exports `wasi:cli/run`. One that speaks the binary interface of Spin 1
/// (wit-bindgen 0.2) exports `fermyon:spin/inbound-http` or `inbound-redis`, and imports
/// Spin's interfaces without a version. The result imports `wasi:*@0.2.x` instead of
/// preview 1.
///
/// # Errors
///
/// [`ComponentizeError`] says which rule the bytes break. A component is not
/// validated here; compiling it does that.
pub fn componentize(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ComponentizeError> {
    match kind(bytes) {
        Some(WasmKind::Component) => Ok(Cow::Borrowed(bytes)),
        Some(WasmKind::Module) => adapt(bytes, &read(bytes)?).map(Cow::Owned),
        None if is_precompiled(bytes) => Err(ComponentizeError::Precompiled),
        None => Err(ComponentizeError::NotWasm),
    }
}

/// Something callable: a component, or a preview 1 command, which stays a core module.
pub(crate) fn callable(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ComponentizeError> {
    if kind(bytes) == Some(WasmKind::Module) {
        let info = read(bytes)?;
        if info.is_command() {
            return Ok(Cow::Borrowed(bytes));
        }
        return adapt(bytes, &info).map(Cow::Owned);
    }
    componentize(bytes)
}

fn read(module: &[u8]) -> Result<ModuleInfo, ComponentizeError> {
    ModuleInfo::read(module).map_err(|error| match error {
        ModuleError::Damaged(source) => ComponentizeError::Damaged { source },
        ModuleError::World(source) => ComponentizeError::World { source },
    })
}

fn adapt(module: &[u8], info: &ModuleInfo) -> Result<Vec<u8>, ComponentizeError> {
    let Way { adapter, is_legacy } = choose(info)?;
    let encode = || -> Result<Vec<u8>, Cause> {
        let mut module = Cow::Borrowed(module);
        if is_legacy {
            module = Cow::Owned(renew(&module)?);
        }
        if adapter == COMMAND_ADAPTER
            && let Cow::Owned(changed) = keep_code(&module)?
        {
            module = Cow::Owned(changed);
        }
        // Go's own allocator cannot be called before its runtime has started, which in
        // turn needs the adapter.
        if !info.realloc || info.go {
            module = Cow::Owned(lend(&module, info.go)?);
        }
        let encoded = ComponentEncoder::default()
            .validate(true)
            .module(&module)?
            .adapter(ADAPTER_NAME, adapter)?
            .encode()?;
        Ok(encoded)
    };
    encode().map_err(|source| ComponentizeError::Encode { source })
}

/// How a module becomes a component.
struct Way {
    adapter: &'static [u8],
    /// It speaks the binary interface of Spin 1.
    is_legacy: bool,
}

fn choose(info: &ModuleInfo) -> Result<Way, ComponentizeError> {
    let way = |adapter| Way {
        adapter,
        is_legacy: false,
    };
    if let Some(version) = info.world.as_ref().and_then(|world| world.bindgen.as_ref())
        && !is_adaptable(version)
    {
        let version = version.clone();
        return Err(ComponentizeError::WitBindgen { version });
    }
    if info.world.is_some() && (info.is_called() || !info.start) {
        return Ok(way(REACTOR_ADAPTER));
    }
    // `_start` of such a module is not called, as in Spin.
    if info.legacy_handler || (info.legacy_realloc && !info.start) {
        return Ok(Way {
            adapter: REACTOR_ADAPTER,
            is_legacy: true,
        });
    }
    if info.start {
        return match &info.clang {
            Some(version) if is_unsound_clang(version) => Err(ComponentizeError::Clang {
                version: version.clone(),
            }),
            _ => Ok(way(COMMAND_ADAPTER)),
        };
    }
    Err(ComponentizeError::NoEntryPoint)
}

/// `0.5` up to any `0.x`, as plain numbers with at most a patch number and nothing after it.
fn is_adaptable(version: &str) -> bool {
    let mut parts = version.split('.');
    let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
    let (major, minor) = (number(), number());
    major == Some(0) && minor.is_some_and(|minor| minor >= 5) && parts.count() <= 1
}

/// Whether `version` (`14.0.4 (https://…)`) is known to be older than the first sound
/// one. Text that is not a version is accepted.
fn is_unsound_clang(version: &str) -> bool {
    let plain = version
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next()
        .unwrap_or_default();
    let mut numbers = plain.split('.').map(|part| part.parse::<u64>().ok());
    let Some(Some(major)) = numbers.next() else {
        return false;
    };
    let minor = numbers.next().flatten().unwrap_or(0);
    let patch = numbers.next().flatten().unwrap_or(0);
    [major, minor, patch] < FIRST_SOUND_CLANG
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wit_bindgen_versions_follow_the_contract() {
        for good in ["0.5", "0.5.0", "0.24.1", "0.57.1"] {
            assert!(is_adaptable(good), "{good}");
        }
        for bad in [
            "0.2.0", "0.4.9", "1.0.0", "v0.6.0", "0", "0.x", "0.16.0.1", "",
        ] {
            assert!(!is_adaptable(bad), "{bad}");
        }
    }

    #[test]
    fn clang_is_refused_only_when_known_to_be_old() {
        for old in [
            "14.0.4",
            "15.0.6 (https://github.com/llvm 1)",
            "15",
            "9.0.1-git",
        ] {
            assert!(is_unsound_clang(old), "{old}");
        }
        for sound in ["15.0.7", "16.0.0 (https://x)", "18", "unknown", ""] {
            assert!(!is_unsound_clang(sound), "{sound}");
        }
    }
}
