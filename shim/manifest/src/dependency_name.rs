//! The names by which a component asks for its dependencies.

use semver::{BuildMetadata, Version};

use crate::names::{Case, check_id, check_package};

/// A dependency's name, which says what it satisfies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DependencyName {
    /// A plain kebab name.
    Plain,
    /// `namespace:package[/interface][@version]`.
    Package {
        package: String,
        interface: Option<String>,
        version: Option<Version>,
    },
}

impl DependencyName {
    /// Reads a name. The error is the rest of a sentence that begins with the name.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        if !name.contains([':', '/']) {
            return match check_id(name, Case::Kebab) {
                Ok(()) => Ok(DependencyName::Plain),
                Err(_) => Err("must be a kebab-case name or \
                     `namespace:package[/interface][@version]`"
                    .into()),
            };
        }
        let (path, version) = match name.split_once('@') {
            Some((path, version)) => {
                let wrong = |error| format!("has the invalid version {version:?}: {error}");
                (path, Some(Version::parse(version).map_err(wrong)?))
            }
            None => (name, None),
        };
        let (package, interface) = match path.split_once('/') {
            Some((package, interface)) => (package, Some(interface)),
            None => (path, None),
        };
        check_package(package)?;
        if let Some(interface) = interface {
            check_id(interface, Case::Kebab)
                .map_err(|error| format!("has the interface {interface:?}, which {error}"))?;
        }
        Ok(DependencyName::Package {
            package: package.to_owned(),
            interface: interface.map(str::to_owned),
            version,
        })
    }

    /// Whether both names could match the same import.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        use DependencyName::Package;
        let (
            Package {
                package,
                interface,
                version,
            },
            Package {
                package: other_package,
                interface: other_interface,
                version: other_version,
            },
        ) = (self, other)
        else {
            return false;
        };
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        let tracks_differ = match (version, other_version) {
            (Some(a), Some(b)) => track(a) != track(b),
            _ => false,
        };
        package == other_package && !differ(interface, other_interface) && !tracks_differ
    }
}

/// Versions of the same track may replace each other.
fn track(version: &Version) -> Version {
    let mut track = Version {
        build: BuildMetadata::EMPTY,
        ..version.clone()
    };
    if track.pre.is_empty() {
        match (track.major, track.minor) {
            (0, 0) => {}
            (0, _) => track.patch = 0,
            _ => (track.minor, track.patch) = (0, 0),
        }
    }
    track
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(a: &str, b: &str) -> bool {
        let parse = |name| DependencyName::parse(name).expect("a name");
        parse(a).overlaps(&parse(b))
    }

    #[test]
    fn names_are_plain_or_of_a_package() {
        assert_eq!(DependencyName::parse("my-dep"), Ok(DependencyName::Plain));
        for name in ["a:b", "a:b/c", "a:b@1.0.0", "a-x:b-y/c-z@0.1.0-rc.1"] {
            assert!(
                matches!(
                    DependencyName::parse(name),
                    Ok(DependencyName::Package { .. })
                ),
                "{name}"
            );
        }
        for name in [
            "", "a_b", "a@1.0.0", "a:b@1", "a:/c", ":b", "a:b/", "a:b/c/d", "a:b:c",
        ] {
            assert!(DependencyName::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn names_of_one_package_must_differ_in_interface_or_track() {
        for (a, b, expected) in [
            ("a:b", "a:c", false),
            ("a:b", "b", false),
            ("a:b", "a:b/c", true),
            ("a:b/c", "a:b/d", false),
            ("a:b/c", "a:b/c@1.0.0", true),
            ("a:b/c@1.0.0", "a:b/c@1.2.0", true),
            ("a:b/c@1.0.0", "a:b/c@2.0.0", false),
            ("a:b/c@0.1.0", "a:b/c@0.2.0", false),
            ("a:b/c@0.0.1", "a:b/c@0.0.2", false),
            ("a:b@1.0.0-rc.1", "a:b@1.0.0", false),
            ("a:b@1.0.0+x", "a:b/c@1.0.0", true),
        ] {
            assert_eq!(overlap(a, b), expected, "{a} {b}");
            assert_eq!(overlap(b, a), expected, "{b} {a}");
        }
    }
}
