//! Core modules made into components, through the standard preview 1 adapters.

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as ADAPTER_NAME,
    WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use crate::exit::keep_code;
use crate::module::ModuleInfo;
use crate::{Cause, WasmKind, is_precompiled, kind};

/// The first clang whose wasi-libc does not corrupt memory in `realloc`
/// (wasi-libc issue 377); older ones are refused for command modules.
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
    /// A module that breaks off or is damaged.
    #[error("the core module cannot be read")]
    Damaged {
        /// Where and what.
        #[source]
        source: wasmparser::BinaryReaderError,
    },
    /// Bindings of a generation between the two that can be adapted.
    #[error(
        "cannot adapt modules created with wit-bindgen version {version}: 0.5 or later (below 1.0) is needed"
    )]
    WitBindgen {
        /// The version as the module gives it.
        version: String,
    },
    /// A module of Spin 1.x's own interface, as TinyGo programs have it.
    #[error(
        "the core module uses the legacy Spin ABI of wit-bindgen 0.2 (it exports `{export}`), as programs built with TinyGo and Spin's Go SDK up to 2.2 do; this is not supported yet, rebuild it as a component"
    )]
    LegacySpin {
        /// The export that gave it away.
        export: String,
    },
    /// A module nobody can call.
    #[error(
        "the core module is neither a command (`_start` and no bindings) nor made with wit-bindgen 0.5 or later, so it has no entry point"
    )]
    NoEntryPoint,
    /// A toolchain with a known memory corruption.
    #[error(
        "the command module was compiled with clang {version}, whose wasi-libc corrupts memory: rebuild it with clang 15.0.7 or later"
    )]
    Clang {
        /// The version as the module gives it.
        version: String,
    },
    /// The adapter does not fit the module.
    #[error("the core module cannot be made into a component")]
    Encode {
        /// What the encoder found.
        #[source]
        source: Cause,
    },
}

/// Makes a component of a core module; a component stays as it is.
///
/// A module made with wit-bindgen 0.5 or later goes through the reactor adapter, a
/// preview 1 command through the command adapter, and then exports `wasi:cli/run`.
/// The result imports `wasi:*@0.2.x` in place of preview 1.
///
/// # Errors
///
/// [`ComponentizeError`] says which rule the bytes break. A component is not
/// validated here; compiling it does that.
pub fn componentize(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ComponentizeError> {
    match kind(bytes) {
        Some(WasmKind::Component) => Ok(Cow::Borrowed(bytes)),
        Some(WasmKind::Module) => adapt(bytes).map(Cow::Owned),
        None if is_precompiled(bytes) => Err(ComponentizeError::Precompiled),
        None => Err(ComponentizeError::NotWasm),
    }
}

fn adapt(module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    let info = ModuleInfo::read(module).map_err(|source| ComponentizeError::Damaged { source })?;
    let adapter = choose_adapter(info)?;
    let is_command = adapter == COMMAND_ADAPTER;
    let encode = || -> Result<Vec<u8>, Cause> {
        let module = if is_command {
            keep_code(module)?
        } else {
            Cow::Borrowed(module)
        };
        let encoded = ComponentEncoder::default()
            .validate(true)
            .module(&module)?
            .adapter(ADAPTER_NAME, adapter)?
            .encode()?;
        Ok(encoded)
    };
    encode().map_err(|source| ComponentizeError::Encode { source })
}

fn choose_adapter(info: ModuleInfo) -> Result<&'static [u8], ComponentizeError> {
    if let Some(version) = info.bindgen {
        return if is_adaptable(&version) {
            Ok(REACTOR_ADAPTER)
        } else {
            Err(ComponentizeError::WitBindgen { version })
        };
    }
    if info.start && !info.component_type && !info.realloc {
        return match info.clang {
            Some(version) if is_unsound_clang(&version) => {
                Err(ComponentizeError::Clang { version })
            }
            _ => Ok(COMMAND_ADAPTER),
        };
    }
    Err(match info.legacy_export {
        Some(export) => ComponentizeError::LegacySpin { export },
        None => ComponentizeError::NoEntryPoint,
    })
}

/// `0.5` up to any `0.x`, as plain numbers with at most a patch number and nothing after it.
fn is_adaptable(version: &str) -> bool {
    let mut parts = version.split('.');
    let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
    let (major, minor) = (number(), number());
    major == Some(0) && minor.is_some_and(|minor| minor >= 5) && parts.count() <= 1
}

/// Whether `version` (`14.0.4 (https://…)`) is known to be older than the first sound
/// one. What does not read as a version is not known, and passes.
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
