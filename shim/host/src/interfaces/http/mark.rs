//! How an application knows its own requests when they come back by its listener.

use std::fmt;
use std::io;

use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::origin::Depth;
use crate::interfaces::random::two_numbers;

/// Says how many requests led to this one, and proves who says so. No guest sees it.
const HEADER: HeaderName = HeaderName::from_static("skiff-own-request");

/// A secret of an application, for requests that it sends to itself over its listener: each
/// carries it, with the number of requests that led to it. All workers have to have the same.
pub struct Mark(String);

impl Mark {
    /// A new secret.
    ///
    /// # Errors
    /// If the kernel has no random numbers.
    pub fn new() -> io::Result<Self> {
        let (one, other) = two_numbers()?;
        Ok(Mark(format!("{one:016x}{other:016x}")))
    }

    /// Replaces what the guest may have put there.
    pub(super) fn set(&self, Depth(depth): Depth, headers: &mut HeaderMap) {
        let value = HeaderValue::try_from(format!("{} {depth}", self.0));
        // Neither fails: the value is ASCII, and the client sends few headers.
        if let Ok(mut value) = value {
            value.set_sensitive(true);
            let _ = headers.try_insert(HEADER, value);
        }
    }

    /// Removes the mark from a request that arrives, and remembers how many led to it if
    /// this application has sent it. Others may send the header: theirs does not count.
    pub fn take<B>(&self, request: &mut Request<B>) {
        let Some(value) = request.headers_mut().remove(HEADER) else {
            return;
        };
        let said = value.to_str().ok().and_then(|text| text.split_once(' '));
        if let Some((secret, depth)) = said
            && self.is(secret)
            && let Ok(depth) = depth.parse()
        {
            request.extensions_mut().insert(Depth(depth));
        }
    }

    /// Takes as long for every wrong secret of the right length.
    fn is(&self, secret: &str) -> bool {
        let pairs = self.0.bytes().zip(secret.bytes());
        let differences = pairs.fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        self.0.len() == secret.len() && std::hint::black_box(differences) == 0
    }
}

/// Without the secret.
impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(request: &Request<()>) -> Option<Depth> {
        assert!(!request.headers().contains_key(HEADER));
        request.extensions().get().copied()
    }

    #[test]
    fn a_mark_counts_for_the_application_that_made_it_and_is_removed_for_all() {
        let (ours, theirs) = (Mark::new().unwrap(), Mark::new().unwrap());
        let marked = || {
            let mut request = Request::new(());
            let forged = HeaderValue::from_static("forged");
            request.headers_mut().append(HEADER, forged);
            ours.set(Depth(7), request.headers_mut());
            request
        };
        let mut request = marked();
        ours.take(&mut request);
        assert_eq!(depth(&request), Some(Depth(7)));
        request = marked();
        theirs.take(&mut request);
        assert_eq!(depth(&request), None);
    }

    #[test]
    fn a_mark_that_is_guessed_does_not_count() {
        let mark = Mark::new().unwrap();
        let secret = mark.0.clone();
        let short = &secret[1..];
        for value in [
            "",
            "16",
            " 16",
            &format!("{short} 16"),
            &format!("{secret}0 16"),
            &format!("{secret} -1"),
            &format!("{secret} "),
            &secret,
        ] {
            let mut request = Request::new(());
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().insert(HEADER, value);
            mark.take(&mut request);
            assert_eq!(depth(&request), None);
        }
        assert_eq!(format!("{mark:?}"), "Mark");
    }
}
