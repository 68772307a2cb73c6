//! Text that must not be shown.

use std::fmt;

use url::Url;

/// What stands for a secret where it would be shown.
const HIDDEN: &str = "(hidden)";

/// A text that no message shows: its `Debug` form hides it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text, for the service that it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The URL of a service, which may hold a user's name and password. It is shown without
/// them, and without its query and fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceUrl(Url);

impl ServiceUrl {
    /// Reads a URL with a host and one of these schemes.
    ///
    /// # Errors
    /// Says what a URL has to look like, and nothing of the text.
    pub fn parse(text: &str, schemes: &[&str]) -> Result<Self, String> {
        let url = Url::parse(text).ok();
        let fits = |url: &Url| {
            schemes.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty())
        };
        url.filter(fits).map(ServiceUrl).ok_or_else(|| {
            let schemes: Vec<_> = schemes.iter().map(|name| format!("`{name}://`")).collect();
            format!(
                "must be a URL with a host that begins with {}",
                schemes.join(" or ")
            )
        })
    }

    /// The whole URL, for connecting.
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.0;
        write!(
            f,
            "{}://{}",
            url.scheme(),
            url.host_str().unwrap_or_default()
        )?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        match url.path() {
            "/" => Ok(()),
            path => f.write_str(path),
        }
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
