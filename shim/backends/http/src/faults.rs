//! Errors as `wasi:http` names them.

use std::error::Error as _;
use std::io;

use skiff_host::HttpError;

/// A name without an address.
pub(crate) fn no_address() -> HttpError {
    HttpError::DnsError {
        rcode: Some("address not available".to_owned()),
        info_code: None,
    }
}

/// Why a connection was not made.
pub(crate) fn of_connect(error: &io::Error) -> HttpError {
    match error.kind() {
        io::ErrorKind::TimedOut => HttpError::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            HttpError::DestinationIpUnroutable
        }
        io::ErrorKind::PermissionDenied => HttpError::DestinationUnavailable,
        _ if is_of_descriptors(error) => HttpError::ConnectionLimitReached,
        _ => HttpError::ConnectionRefused,
    }
}

/// Whether the process or the machine has no more descriptors.
fn is_of_descriptors(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Whether a server of HTTP/2 says that it has not looked at the request.
pub(crate) fn is_refused(error: &hyper::Error) -> bool {
    is_of_http2(error, "stream error received: refused stream")
}

/// Whether the connection ended before the response came. Where HTTP/2 ends one with GOAWAY,
/// requests that it has looked at and others have the same error.
pub(crate) fn is_broken(error: &hyper::Error) -> bool {
    error.is_incomplete_message()
        || error.is_canceled()
        || error.source().is_some_and(|cause| cause.is::<io::Error>())
        || is_of_http2(error, "connection error received:")
}

/// hyper shows the errors of HTTP/2 in words alone.
fn is_of_http2(error: &hyper::Error, begin: &str) -> bool {
    let cause = error.source().map(ToString::to_string);
    cause.is_some_and(|cause| cause.starts_with(begin))
}

/// Why an exchange on a connection failed.
pub(crate) fn of_exchange(error: &hyper::Error) -> HttpError {
    let mut cause = error.source();
    while let Some(error) = cause {
        // The guest's own body has failed.
        match error.downcast_ref::<HttpError>() {
            Some(HttpError::HttpRequestBodySize(size)) => {
                return HttpError::HttpRequestBodySize(*size);
            }
            Some(HttpError::InternalError(text)) => {
                return HttpError::InternalError(text.clone());
            }
            _ => cause = error.source(),
        }
    }
    if error.is_parse_too_large() {
        return HttpError::HttpResponseHeaderSectionSize(None);
    }
    HttpError::HttpProtocolError
}
