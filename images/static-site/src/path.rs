//! Maps the path of a request to a path inside the site, and to a media type.

use std::path::Path;

/// Decodes a path as it was sent into one that is relative and stays inside the site.
///
/// `None` if an escape is invalid, the bytes are not UTF-8, or a segment leads outside.
pub(crate) fn decode(sent: &str) -> Option<String> {
    let path = sent.split('?').next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => bytes.push(hex(rest.next()?)? << 4 | hex(rest.next()?)?),
            _ => bytes.push(byte),
        }
    }
    let decoded = String::from_utf8(bytes).ok()?;
    // Segments are checked after decoding, since `%2e%2e%2f` means the same as `../`.
    let segments: Vec<&str> = decoded.split('/').filter(|part| !part.is_empty()).collect();
    let strays = |part: &&str| *part == ".." || *part == "." || part.contains(['\\', '\0']);
    (!segments.iter().any(strays)).then(|| segments.join("/"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// The media type by the file's extension; bytes of no known kind are only downloaded.
pub(crate) fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("ico") => "image/x-icon",
        Some("wasm") => "application/wasm",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_and_made_relative() {
        assert_eq!(decode("/").as_deref(), Some(""));
        assert_eq!(decode("/a//b%20c?x=1").as_deref(), Some("a/b c"));
    }

    #[test]
    fn a_path_that_leaves_the_site_is_refused() {
        for sent in ["/../etc/passwd", "/%2e%2e/x", "/a%2f..%2f..", "/a\\..\\b"] {
            assert_eq!(decode(sent), None, "{sent}");
        }
    }

    #[test]
    fn a_broken_escape_is_refused() {
        for sent in ["/%", "/%4", "/%zz", "/%ff"] {
            assert_eq!(decode(sent), None, "{sent}");
        }
    }
}
