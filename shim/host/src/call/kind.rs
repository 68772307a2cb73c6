//! The kind of a component, by the export that its trigger calls.

use crate::interfaces::{Status, handlers, status};

/// How a component is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComponentKind {
    /// `wasi:http/incoming-handler@0.2.x`.
    HttpP2,
    /// `wasi:http/handler@0.3.x`.
    HttpP3,
    /// `fermyon:spin/inbound-http`.
    HttpSpin,
    /// `_start` of a preview 1 core module.
    CommandP1,
    /// `wasi:cli/run@0.2.x`.
    CommandP2,
    /// `wasi:cli/run@0.3.x`.
    CommandP3,
}

impl ComponentKind {
    /// A description for messages.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            ComponentKind::HttpP2 => "a handler (`wasi:http/incoming-handler@0.2`)",
            ComponentKind::HttpP3 => "a handler (`wasi:http/handler@0.3`)",
            ComponentKind::HttpSpin => "a handler (`fermyon:spin/inbound-http`)",
            ComponentKind::CommandP1 => "a command (`_start` of a module)",
            ComponentKind::CommandP2 => "a command (`wasi:cli/run@0.2`)",
            ComponentKind::CommandP3 => "a command (`wasi:cli/run@0.3`)",
        }
    }

    /// Whether it is run to its end.
    pub fn is_command(self) -> bool {
        match self {
            ComponentKind::CommandP1 | ComponentKind::CommandP2 | ComponentKind::CommandP3 => true,
            ComponentKind::HttpP2 | ComponentKind::HttpP3 | ComponentKind::HttpSpin => false,
        }
    }
}

/// What a trigger looks for among a component's exports; it ignores the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// An HTTP handler or, without one, a command, which its application runs to its end.
    Http,
    /// `wasi:cli/run`, which is run to its end.
    Command,
    /// `wasi:cli/run`, which is run for each request.
    Wagi,
}

/// Exports that do not say how to call a component.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImportError {
    /// No export that an HTTP trigger can call.
    #[error(
        "it exports no handler: wasi:http/incoming-handler@0.2, wasi:http/handler@0.3, fermyon:spin/inbound-http or wasi:cli/run is expected, it exports {}",
        list(.exports)
    )]
    NoHandler {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// No export that a command trigger can call.
    #[error("it is not a command: wasi:cli/run is expected, it exports {}", list(.exports))]
    NoCommand {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// A handler that Spin supports and this version of Skiff cannot call.
    #[error("it exports `{export}`, which this version of Skiff does not offer yet")]
    NotYet {
        /// The export.
        export: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The kind that an export gives to its component.
enum Export {
    Kind(ComponentKind),
    /// A handler that Spin supports and we cannot call.
    NotYet,
}

fn export(name: &str, wanted: Wanted) -> Option<Export> {
    let is_wanted = |kind: Option<ComponentKind>| match kind {
        Some(kind) => kind.is_command() == (wanted != Wanted::Http),
        None => wanted == Wanted::Http,
    };
    if let Some(Status::Called(Some(kind))) = status(name) {
        return is_wanted(Some(kind)).then_some(Export::Kind(kind));
    }
    // Release candidates match only themselves, and are not called.
    let is_candidate = name
        .split_once('@')
        .is_some_and(|(_, version)| version.contains('-'));
    handlers(name)
        .any(|kind| is_wanted(kind) && (kind.is_none() || is_candidate))
        .then_some(Export::NotYet)
}

/// Determines how a trigger calls a component with these exports. Of two versions of one
/// handler the newer one is called, and Spin's own only if there is no other.
///
/// # Errors
/// If nothing that the trigger looks for is exported.
pub fn kind<'a>(
    exports: impl Iterator<Item = &'a str>,
    wanted: Wanted,
) -> Result<ComponentKind, ImportError> {
    let exports: Vec<&str> = exports.collect();
    let looked_for: &[Wanted] = match wanted {
        Wanted::Http => &[Wanted::Http, Wanted::Command],
        Wanted::Command | Wanted::Wagi => &[Wanted::Command],
    };
    let mut not_yet = None;
    for wanted in looked_for {
        let mut found = None;
        for &name in &exports {
            match export(name, *wanted) {
                Some(Export::Kind(kind)) => {
                    let newer = matches!(kind, ComponentKind::HttpP3 | ComponentKind::CommandP3);
                    if newer || found.is_none_or(|found| found == ComponentKind::HttpSpin) {
                        found = Some(kind);
                    }
                }
                Some(Export::NotYet) => not_yet = not_yet.or(Some(name)),
                None => {}
            }
        }
        if let Some(kind) = found {
            return Ok(kind);
        }
    }
    if let Some(export) = not_yet {
        return Err(ImportError::NotYet {
            export: export.to_owned(),
        });
    }
    let exports = exports.iter().map(ToString::to_string).collect();
    Err(match wanted {
        Wanted::Http => ImportError::NoHandler { exports },
        Wanted::Command | Wanted::Wagi => ImportError::NoCommand { exports },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn of(exports: &[&str], wanted: Wanted) -> Result<ComponentKind, ImportError> {
        kind(exports.iter().copied(), wanted)
    }

    #[test]
    fn a_trigger_looks_at_what_it_calls() {
        let both = ["wasi:cli/run@0.2.0", "wasi:http/incoming-handler@0.2.10"];
        assert_eq!(of(&both, Wanted::Http), Ok(ComponentKind::HttpP2));
        assert_eq!(of(&both, Wanted::Command), Ok(ComponentKind::CommandP2));
        let run = ["x", "wasi:cli/run@0.3.0"];
        assert_eq!(of(&run, Wanted::Http), Ok(ComponentKind::CommandP3));
        assert_eq!(of(&run, Wanted::Command), Ok(ComponentKind::CommandP3));
        let error = of(&both[1..], Wanted::Command).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is not a command: wasi:cli/run is expected, it exports `wasi:http/incoming-handler@0.2.10`"
        );
    }

    #[test]
    fn the_newer_of_two_handlers_is_called() {
        let mut both = [
            "wasi:http/handler@0.3.0",
            "wasi:http/incoming-handler@0.2.0",
        ];
        assert_eq!(of(&both, Wanted::Http), Ok(ComponentKind::HttpP3));
        both.reverse();
        assert_eq!(of(&both, Wanted::Http), Ok(ComponentKind::HttpP3));
        let old = ["fermyon:spin/inbound-http", both[1]];
        assert_eq!(of(&old, Wanted::Http), Ok(ComponentKind::HttpP3));
        assert_eq!(of(&old[..1], Wanted::Http), Ok(ComponentKind::HttpSpin));
        let old = [both[0], "fermyon:spin/inbound-http"];
        assert_eq!(of(&old, Wanted::Http), Ok(ComponentKind::HttpP2));
        let run = ["wasi:cli/run@0.3.0", "wasi:cli/run@0.2.0"];
        assert_eq!(of(&run, Wanted::Command), Ok(ComponentKind::CommandP3));
    }

    #[test]
    fn a_handler_that_cannot_be_called_yet_is_named_where_there_is_no_other() {
        let candidate = "wasi:http/incoming-handler@0.2.0-rc-2023-10-18";
        assert_eq!(
            of(&[candidate], Wanted::Http).unwrap_err(),
            ImportError::NotYet {
                export: candidate.into()
            }
        );
        let with_another = [candidate, "wasi:http/handler@0.3.0"];
        assert_eq!(of(&with_another, Wanted::Http), Ok(ComponentKind::HttpP3));
    }

    #[test]
    fn nothing_to_call_is_told_with_what_there_is() {
        assert_eq!(
            of(&[], Wanted::Http).unwrap_err().to_string(),
            "it exports no handler: wasi:http/incoming-handler@0.2, wasi:http/handler@0.3, fermyon:spin/inbound-http or wasi:cli/run is expected, it exports nothing"
        );
    }
}
