//! Detects the kind of a file from its first bytes.

/// The two binary formats of WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WasmKind {
    /// A core module, to be made into a component.
    Module,
    /// A component.
    Component,
}

/// How many bytes [`kind`] and [`is_precompiled`] read.
const HEADER: usize = 8;

/// Distinguishes a module from a component by the eight bytes of the header.
///
/// `None` for everything else, WebAssembly text included. A known header does not
/// make the rest valid.
pub fn kind(bytes: &[u8]) -> Option<WasmKind> {
    match bytes.get(..HEADER)? {
        b"\0asm\x01\0\0\0" => Some(WasmKind::Module),
        b"\0asm\x0d\0\x01\0" => Some(WasmKind::Component),
        _ => None,
    }
}

/// Whether the bytes look like ahead-of-time compiled native code.
///
/// Wasmtime writes ELF files, WAMR its own format, and the other magic numbers are those
/// of executables of other systems. Such bytes are refused by name, because running them
/// would mean trusting their sender.
pub fn is_precompiled(bytes: &[u8]) -> bool {
    const MAGICS: [&[u8]; 8] = [
        b"\x7fELF",
        b"\0aot",
        b"wasmer-universal",
        b"\0wasmer",
        b"\xcf\xfa\xed\xfe",
        b"\xce\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
        b"MZ\x90\0",
    ];
    MAGICS.iter().any(|magic| bytes.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_modules_from_components() {
        assert_eq!(kind(b"\0asm\x01\0\0\0rest"), Some(WasmKind::Module));
        assert_eq!(kind(b"\0asm\x0d\0\x01\0rest"), Some(WasmKind::Component));
        assert_eq!(kind(b"\0asm\x0c\0\x01\0"), None);
        assert_eq!(kind(b"\0asm"), None);
        assert_eq!(kind(b"(module)"), None);
        assert_eq!(kind(b""), None);
    }

    #[test]
    fn native_code_is_recognised() {
        assert!(is_precompiled(b"\x7fELF\x02\x01\x01"));
        assert!(is_precompiled(b"\0aot\x05\0\0\0"));
        assert!(!is_precompiled(b"\0asm\x01\0\0\0"));
        assert!(!is_precompiled(b"MZ"));
        assert!(!is_precompiled(b""));
    }
}
