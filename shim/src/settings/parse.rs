//! Settings' values as text: parsing them, and showing defaults.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use skiff_manifest::hosts::{BlockedNetworks, Host};

use crate::process::LogLevel;

/// What a setting's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IP address and port.
    Address,
    /// A list of component ids.
    Components,
    /// A length of time.
    Duration,
    /// A length of time that is not zero.
    Limit,
    /// A number of bytes.
    Size,
    /// How many of something.
    Count,
    /// `true` or `false`.
    Switch,
    /// A folder by its whole path.
    Folder,
    /// How much is logged.
    LogLevel,
    /// A list of networks.
    Networks,
    /// A host and a port.
    Host,
    /// A file by its whole path.
    File,
    /// Folders by their whole paths.
    Folders,
}

impl Kind {
    /// The type's name on the page.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Address => "address",
            Kind::Components => "component ids",
            Kind::Duration | Kind::Limit => "duration",
            Kind::Size => "size",
            Kind::Count => "count",
            Kind::Switch => "switch",
            Kind::Folder => "folder",
            Kind::LogLevel => "log level",
            Kind::Networks => "networks",
            Kind::Host => "host",
            Kind::File => "file",
            Kind::Folders => "folders",
        }
    }

    /// The expected form, for error messages.
    pub fn expected(self) -> &'static str {
        match self {
            Kind::Address => "an IP address and port such as 0.0.0.0:80 or [::]:8080",
            Kind::Components => "component ids separated by commas",
            Kind::Duration => "a duration such as 500ms, 1s, 2m or 1h",
            Kind::Limit => "a duration of at least 1ms such as 500ms, 1s, 2m or 1h",
            Kind::Size => "a number of bytes such as 65536, 64Ki or 128Mi, at least 1",
            Kind::Count => "a whole number from 1 to 4294967295",
            Kind::Switch => "true or false",
            Kind::Folder => "the whole path of a folder, such as /data",
            Kind::LogLevel => "one of error, warn, info, debug, trace",
            Kind::Networks => {
                "networks such as 10.0.0.0/8, `private` and `link-local`, separated by commas, or `none`"
            }
            Kind::Host => "a host and its port such as orders:8080",
            Kind::File => "the whole path of a file",
            Kind::Folders => "whole paths of folders separated by colons",
        }
    }
}

pub(super) fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

pub(super) fn components(text: &str) -> Option<BTreeSet<String>> {
    let ids = text.split(',').map(str::trim);
    ids.map(|id| (!id.is_empty()).then(|| id.to_owned()))
        .collect()
}

/// A whole number with a unit. A bare number is rejected, as it could mean seconds or
/// milliseconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let unit = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_secs)
}

/// A duration in which something can happen.
pub(super) fn limit(text: &str) -> Option<Duration> {
    duration(text).filter(|limit| !limit.is_zero())
}

/// A number of bytes, bare or with a Kubernetes suffix.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let unit: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit).filter(|bytes| *bytes > 0)
}

/// A number of bytes in memory, limited to the address space.
pub(super) fn memory(text: &str) -> Option<usize> {
    Some(usize::try_from(size(text)?).unwrap_or(usize::MAX))
}

pub(super) fn count(text: &str) -> Option<NonZeroU32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A plain number.
pub(super) fn number(text: &str) -> Option<usize> {
    Some(usize::try_from(count(text)?.get()).unwrap_or(usize::MAX))
}

pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A path from the root: another would depend on where the process was started.
pub(super) fn folder(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| path.is_absolute())
}

pub(super) fn log_level(text: &str) -> Option<LogLevel> {
    LogLevel::ALL.into_iter().find(|level| level.name() == text)
}

/// Networks, separated by commas.
pub(super) fn networks(text: &str) -> Option<BlockedNetworks> {
    match text {
        "none" => Some(BlockedNetworks::default()),
        _ => BlockedNetworks::parse(text.split(',').map(str::trim)).ok(),
    }
}

/// A host and its port, in lower case as URLs have it.
pub(super) fn host(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    Some(format!("{}:{port}", Host::parse(host).ok()?))
}

/// A path from the root: another would depend on where the process was started.
pub(super) fn file(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| path.is_absolute())
}

pub(super) fn folders(text: &str) -> Option<Vec<PathBuf>> {
    text.split(':').map(file).collect()
}

/// As [`folders`] reads them.
pub(super) fn show_folders(folders: &[PathBuf]) -> String {
    let folders: Vec<_> = folders
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    folders.join(":")
}

/// Splits `64Mi` into 64 and `Mi`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

/// As [`duration`] reads it.
pub(super) fn show_duration(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (seconds, 0) if seconds > 0 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (seconds, 0) if seconds > 0 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// As [`memory`] reads it.
pub(super) fn show_memory(bytes: usize) -> String {
    show_size(bytes as u64)
}

/// As [`size`] reads it.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [(1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    let fits = units
        .iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    match fits {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        assert_eq!(limit("0s"), None);
        assert_eq!(limit("1ms"), Some(Duration::from_millis(1)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        for wrong in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "1S",
            "99999999999999999999s",
        ] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(duration("18446744073709551615h"), None);
    }

    #[test]
    fn sizes_are_bytes_or_have_a_suffix() {
        assert_eq!(size("65536"), Some(65536));
        assert_eq!(size("64Mi"), Some(64 << 20));
        assert_eq!(size("1k"), Some(1000));
        for wrong in [
            "",
            "0",
            "0Mi",
            "Mi",
            "64MB",
            "-1",
            "1.5Gi",
            "18446744073709551615Gi",
        ] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn counts_start_at_one() {
        assert_eq!(count("7").map(NonZeroU32::get), Some(7));
        for wrong in ["", "0", "+7", "-1", "4294967296", "many"] {
            assert_eq!(count(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_empty_component_id_is_a_mistake() {
        let ids = components("a, b").unwrap();
        assert_eq!(ids.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(components(""), None);
        assert_eq!(components("a,,b"), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(millis in 0u64..100_000_000, bytes in 1u64..) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(time)), Some(time));
            prop_assert_eq!(size(&show_size(bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_refused_or_read_without_a_panic(text in ".{0,20}") {
            let read = (duration(&text), size(&text), count(&text), components(&text));
            prop_assert!(read.0.is_none() || text.ends_with(['s', 'm', 'h']));
        }
    }
}
