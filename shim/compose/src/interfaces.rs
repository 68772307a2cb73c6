//! Names of imports and of dependencies, and when they match.

use semver::Version;

/// A name that is either plain kebab or `namespace:package[/interface][@version]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// One word: a function or an inline interface.
    Plain(&'a str),
    /// An interface of a package, or for a dependency possibly all of them.
    Package {
        /// `namespace:package`.
        package: &'a str,
        /// Missing in a dependency that stands for every interface.
        interface: Option<&'a str>,
        /// Missing if any version is acceptable.
        version: Option<Version>,
    },
}

impl<'a> Name<'a> {
    /// `None` for any other form, such as `url=…` or `unlocked-dep=…` imports, which no
    /// dependency can satisfy.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        if name.is_empty() || name.contains(['=', '<', '>', ' ']) {
            return None;
        }
        if !name.contains([':', '/', '@']) {
            return Some(Self::Plain(name));
        }
        let (path, version) = match name.split_once('@') {
            Some((path, version)) => (path, Some(Version::parse(version).ok()?)),
            None => (name, None),
        };
        let (package, interface) = match path.split_once('/') {
            Some((package, interface)) => (package, Some(interface)),
            None => (path, None),
        };
        let (namespace, rest) = package.split_once(':')?;
        let complete = !namespace.is_empty() && !rest.is_empty() && interface != Some("");
        complete.then_some(Self::Package {
            package,
            interface,
            version,
        })
    }

    /// Whether a dependency of this name satisfies `import`: the package must be equal,
    /// and so must the interface and the version if the dependency has them.
    pub(crate) fn satisfies(&self, import: &Name<'_>) -> bool {
        match (self, import) {
            (Self::Plain(own), Name::Plain(other)) => own == other,
            (
                Self::Package {
                    package,
                    interface,
                    version,
                },
                Name::Package {
                    package: import_package,
                    interface: import_interface,
                    version: import_version,
                },
            ) => {
                package == import_package
                    && (interface.is_none() || interface == import_interface)
                    && (version.is_none() || version == import_version)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn satisfies(dependency: &str, import: &str) -> bool {
        let dependency = Name::parse(dependency).expect("a dependency's name");
        Name::parse(import).is_some_and(|import| dependency.satisfies(&import))
    }

    #[test]
    fn what_a_dependency_leaves_out_matches_anything() {
        assert!(satisfies("acme:shop/cart@0.1.0", "acme:shop/cart@0.1.0"));
        assert!(satisfies("acme:shop/cart", "acme:shop/cart@0.1.0"));
        assert!(satisfies("acme:shop/cart", "acme:shop/cart"));
        assert!(satisfies("acme:shop", "acme:shop/price@2.0.0"));
        assert!(satisfies("acme:shop@2.0.0", "acme:shop/price@2.0.0"));
        assert!(satisfies("get-price", "get-price"));
    }

    #[test]
    fn what_a_dependency_gives_has_to_be_equal() {
        assert!(!satisfies("acme:shop/cart@0.1.0", "acme:shop/cart@0.1.1"));
        assert!(!satisfies("acme:shop/cart@0.1.0", "acme:shop/cart"));
        assert!(!satisfies("acme:shop/cart", "acme:shop/price"));
        assert!(!satisfies("acme:shop", "acme:shopping/cart"));
        assert!(!satisfies("acme:shop@0.1.0", "acme:shop/cart"));
        assert!(!satisfies("cart", "acme:shop/cart"));
        assert!(!satisfies("acme:shop/cart", "cart"));
        assert!(!satisfies("acme:shop", "unlocked-dep=<acme:shop>"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in [
            "",
            "acme:",
            ":shop",
            "acme:shop/",
            "acme:shop@x",
            "shop/cart",
            "a=b",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }
}
