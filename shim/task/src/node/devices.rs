//! Which devices a container may use, on nodes with control groups of version 2: the
//! kernel runs one of our BPF programs at every use. libcontainer supports this only with
//! a C library, and without it lets a container use every device.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

mod program;

/// Operations on a device, as the kernel numbers them.
const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;

/// The kinds of devices, as the kernel numbers them.
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

/// What every container may use, as in runc: create any device file, and use null, zero,
/// full, random, urandom, tty, terminals and what creates them.
const ALWAYS: [(u32, Option<u32>, Option<u32>, u32); 10] = [
    (CHARACTER, None, None, MAKE),
    (BLOCK, None, None, MAKE),
    (CHARACTER, Some(1), Some(3), MAKE | READ | WRITE),
    (CHARACTER, Some(1), Some(5), MAKE | READ | WRITE),
    (CHARACTER, Some(1), Some(7), MAKE | READ | WRITE),
    (CHARACTER, Some(1), Some(8), MAKE | READ | WRITE),
    (CHARACTER, Some(1), Some(9), MAKE | READ | WRITE),
    (CHARACTER, Some(5), Some(0), MAKE | READ | WRITE),
    (CHARACTER, Some(5), Some(2), MAKE | READ | WRITE),
    (CHARACTER, Some(136), None, MAKE | READ | WRITE),
];

/// Possible errors.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevicesError {
    #[error("cannot open the container's control group `{}`", path.display())]
    Group { path: PathBuf, source: io::Error },
    #[error("the kernel rejects the program that guards the container's devices")]
    Load(#[source] io::Error),
    #[error("cannot guard the devices of the control group `{}`", path.display())]
    Attach { path: PathBuf, source: io::Error },
}

/// Devices of one kind, by number; `None` stands for every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Devices {
    kind: u32,
    major: Option<u32>,
    minor: Option<u32>,
}

/// The result of the rules: the default for all devices, and the exceptions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Policy {
    allow: bool,
    /// The operations for which these devices differ from the default.
    except: BTreeMap<Devices, u32>,
}

impl Policy {
    /// Rules apply one after the other, as with control groups of version 1.
    fn asked_for<'a>(rules: impl IntoIterator<Item = &'a LinuxDeviceCgroup>) -> Self {
        let mut policy = Self::default();
        for rule in rules {
            policy.apply(rule);
        }
        policy
    }

    /// The specification's rules, and what every container may use.
    fn new<'a>(rules: impl IntoIterator<Item = &'a LinuxDeviceCgroup>) -> Self {
        let mut policy = Self::asked_for(rules);
        for (kind, major, minor, access) in ALWAYS {
            policy.set(Devices { kind, major, minor }, access, true);
        }
        policy
    }

    fn apply(&mut self, rule: &LinuxDeviceCgroup) {
        let kind = match rule.typ().unwrap_or(LinuxDeviceType::A) {
            LinuxDeviceType::B => BLOCK,
            LinuxDeviceType::C | LinuxDeviceType::U => CHARACTER,
            LinuxDeviceType::A => {
                self.allow = rule.allow();
                self.except.clear();
                return;
            }
            // A pipe is not a device.
            LinuxDeviceType::P => return,
        };
        // Negative numbers also stand for every number.
        let number = |given: Option<i64>| given.and_then(|number| u32::try_from(number).ok());
        let (major, minor) = (number(rule.major()), number(rule.minor()));
        let letters = rule.access().as_deref().unwrap_or("rwm");
        let bit = |letter| match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MAKE,
            _ => 0,
        };
        let access = letters.chars().map(bit).fold(0, |all, one| all | one);
        self.set(Devices { kind, major, minor }, access, rule.allow());
    }

    fn set(&mut self, devices: Devices, access: u32, allow: bool) {
        let excepted = self.except.entry(devices).or_default();
        if allow == self.allow {
            *excepted &= !access;
        } else {
            *excepted |= access;
        }
        if *excepted == 0 {
            self.except.remove(&devices);
        }
    }

    /// Whether every operation on every device is allowed.
    fn allows_all(&self) -> bool {
        self.allow && self.except.is_empty()
    }
}

/// Removes the node's console from a control group of version 1 that did not ask for it:
/// libcontainer gives it to every container.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn take_console<'a>(
    path: &Path,
    rules: impl IntoIterator<Item = &'a LinuxDeviceCgroup>,
) -> Result<(), DevicesError> {
    const CONSOLE: (u32, u32) = (5, 1);
    let asked = Policy::asked_for(rules);
    let is_console = |devices: &Devices| {
        devices.kind == CHARACTER
            && devices.major.is_none_or(|major| major == CONSOLE.0)
            && devices.minor.is_none_or(|minor| minor == CONSOLE.1)
    };
    if asked.allow || asked.except.keys().any(is_console) {
        return Ok(());
    }
    let path = path.join("devices.deny");
    std::fs::write(&path, format!("c {}:{} rwm", CONSOLE.0, CONSOLE.1))
        .map_err(|source| DevicesError::Attach { path, source })
}

/// Guards the devices of the control group at `path`.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn guard<'a>(
    path: &Path,
    rules: impl IntoIterator<Item = &'a LinuxDeviceCgroup>,
) -> Result<(), DevicesError> {
    let policy = Policy::new(rules);
    if policy.allows_all() {
        return Ok(());
    }
    let place = path.to_owned();
    let group = match File::open(path) {
        Ok(group) => group,
        Err(source) => {
            return Err(DevicesError::Group {
                path: place,
                source,
            });
        }
    };
    let loaded = program::load(&program::of(&policy)).map_err(DevicesError::Load)?;
    program::attach(&loaded, &group).map_err(|source| DevicesError::Attach {
        path: place,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(rules: serde_json::Value) -> Policy {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
        Policy::new(&rules)
    }

    fn excepted(policy: &Policy, kind: u32, major: u32, minor: u32) -> Option<u32> {
        let (major, minor) = (Some(major), Some(minor));
        policy.except.get(&Devices { kind, major, minor }).copied()
    }

    #[test]
    fn only_what_every_container_may_use_is_allowed_without_rules() {
        for rules in [json!([]), json!([{ "allow": false, "access": "rwm" }])] {
            let policy = policy(rules);
            assert!(!policy.allow);
            assert_eq!(policy.except.len(), ALWAYS.len());
            assert_eq!(
                excepted(&policy, CHARACTER, 1, 3),
                Some(MAKE | READ | WRITE)
            );
            assert_eq!(excepted(&policy, BLOCK, 8, 0), None);
        }
    }

    #[test]
    fn a_rule_adds_to_those_before_it_and_takes_from_them() {
        let policy = policy(json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "b", "major": 8, "minor": 0, "access": "rw" },
            { "allow": true, "type": "b", "major": 8, "minor": 0, "access": "m" },
            { "allow": false, "type": "b", "major": 8, "minor": 0, "access": "w" },
            { "allow": true, "type": "c", "major": 10, "minor": 229 },
            { "allow": true, "type": "c", "major": 195, "minor": -1, "access": "r" },
        ]));
        assert_eq!(excepted(&policy, BLOCK, 8, 0), Some(READ | MAKE));
        assert_eq!(
            excepted(&policy, CHARACTER, 10, 229),
            Some(READ | WRITE | MAKE)
        );
        let all = Devices {
            kind: CHARACTER,
            major: Some(195),
            minor: None,
        };
        assert_eq!(policy.except.get(&all), Some(&READ));
    }

    #[test]
    fn the_console_is_taken_from_who_did_not_ask_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("devices.deny");
        let written = |rules: serde_json::Value| {
            std::fs::write(&file, "").unwrap();
            let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
            take_console(folder.path(), &rules).unwrap();
            std::fs::read_to_string(&file).unwrap()
        };
        assert_eq!(written(json!([])), "c 5:1 rwm");
        let none = json!({ "allow": false, "access": "rwm" });
        assert_eq!(written(json!([none])), "c 5:1 rwm");
        let console = json!({ "allow": true, "type": "c", "major": 5, "minor": 1 });
        assert_eq!(written(json!([none, console])), "");
        assert_eq!(written(json!([{ "allow": true, "access": "rwm" }])), "");
    }

    #[test]
    fn a_privileged_container_is_not_guarded() {
        let all = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "access": "rwm" },
        ]);
        assert!(policy(all.clone()).allows_all());
        let mut rules = all;
        let but = json!({ "allow": false, "type": "b", "major": 8, "minor": 0, "access": "w" });
        rules.as_array_mut().unwrap().push(but);
        let policy = policy(rules);
        assert!(policy.allow && !policy.allows_all());
        assert_eq!(excepted(&policy, BLOCK, 8, 0), Some(WRITE));
    }
}
