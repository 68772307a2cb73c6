//! Errors of TLS in words for operators.

use std::io;

use rustls::{CertificateError, Error, InvalidMessage};

/// What went wrong between two sides that try to agree on TLS, for whoever runs the server or
/// trusts it. The text has no secret.
pub fn told(error: &io::Error) -> String {
    let found = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let Some(error) = found else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "the server ended the connection".to_owned(),
            _ => error.to_string(),
        };
    };
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "the server does not speak TLS on this port".to_owned(),
        error => error.to_string(),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the server's certificate is from an authority that is not trusted; a file of further authorities can be named in SSL_CERT_FILE".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the server's certificate is for another name: {error}")
        }
        // It has no name of its own here.
        error if error.to_string().contains("CaUsedAsEndEntity") => {
            "the server's certificate is that of an authority, as self-signed ones often are, and says nothing about a server; the server needs one that an authority has issued to it".to_owned()
        }
        error => format!("the server's certificate cannot be accepted: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: Error, expected: &str) {
        let text = told(&io::Error::new(io::ErrorKind::InvalidData, error));
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn each_mistake_of_a_certificate_has_its_words() {
        use CertificateError::{Expired, NotValidForName, NotValidYet, Revoked, UnknownIssuer};
        for (error, expected) in [
            (UnknownIssuer, "an authority that is not trusted"),
            (Expired, "has expired"),
            (NotValidYet, "not valid yet"),
            (NotValidForName, "for another name"),
            (Revoked, "cannot be accepted"),
        ] {
            check(Error::InvalidCertificate(error), expected);
        }
    }

    #[test]
    fn what_is_no_tls_is_told_so() {
        let error = Error::InvalidMessage(InvalidMessage::InvalidContentType);
        check(error, "does not speak TLS");
        let ended = told(&io::ErrorKind::UnexpectedEof.into());
        assert_eq!(ended, "the server ended the connection");
    }
}
