//! What a container's first process executes, once it is inside the container.

use std::collections::{HashMap, HashSet};
use std::ffi::{CString, NulError};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use oci_spec::runtime::Spec;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::native::search_path;
use crate::application::handover::{Handover, leave_nothing_open, reset_sigpipe};
use crate::exit::{INTERNAL, NOT_EXECUTABLE};

/// Runs a Linux program, as runc would.
#[derive(Clone)]
pub(crate) struct Linux {
    /// A successful execution closes it; otherwise the error is written to it.
    pub(crate) status: Arc<File>,
    /// Why no application was found, if one was looked for.
    pub(crate) no_application: Option<String>,
}

impl Executor for Linux {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let process = spec.process().as_ref();
        let args = process.and_then(|process| process.args().as_deref());
        let name = args.and_then(<[String]>::first).map_or("", String::as_str);
        find_program(name, search_path(spec)).map_err(|missing| {
            let also = self.no_application.iter().map(|why| format!("; {why}"));
            let message = std::iter::once(missing).chain(also).collect();
            ExecutorValidationError::ArgValidationError(message)
        })
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        reset_sigpipe();
        if let Err(error) = leave_nothing_open() {
            tell(&self.status, &format!("cannot close open files: {error}"));
            std::process::exit(INTERNAL.into());
        }
        if let Err(error) = set_selinux_label(spec) {
            tell(&self.status, &error);
            std::process::exit(INTERNAL.into());
        }
        let process = spec.process().as_ref();
        let args = process.and_then(|process| process.args().as_deref());
        let args = args.unwrap_or_default();
        let error = execute(args);
        let name = args.first().map_or("", String::as_str);
        let message = format!("exec {name}: {error}");
        if error.kind() == io::ErrorKind::NotFound {
            // The program was found, but its interpreter is missing; runc reports this
            // only in the container's own log and exit code.
            eprintln!("{message}");
            std::process::exit(1);
        }
        tell(&self.status, &message);
        std::process::exit(NOT_EXECUTABLE.into());
    }
}

/// Executes the program. Returns only on failure.
fn execute(args: &[String]) -> io::Error {
    let args = match strings(args) {
        Ok(args) => args,
        Err(error) => return error.into(),
    };
    let Some(program) = args.first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    let pointers = args.iter().map(|text| text.as_ptr());
    let pointers: Vec<_> = pointers.chain([std::ptr::null()]).collect();
    // SAFETY: the array ends with null and outlives the call, as do its strings.
    unsafe { libc::execvp(program.as_ptr(), pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// Sets the SELinux label of the specification for the next execution; libcontainer
/// ignores it.
fn set_selinux_label(spec: &Spec) -> Result<(), String> {
    const NEXT: &str = "/proc/thread-self/attr/exec";
    let process = spec.process().as_ref();
    let label = process.and_then(|process| process.selinux_label().as_deref());
    let Some(label) = label.filter(|label| !label.is_empty()) else {
        return Ok(());
    };
    std::fs::write(NEXT, label)
        .map_err(|error| format!("cannot set the SELinux label `{label}`: {error}"))
}

/// Checks whether the container's user can execute a program. At this point the process
/// is inside the container and runs as that user.
fn find_program(name: &str, search_path: &str) -> Result<(), String> {
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![PathBuf::from(name)]
    } else {
        let folders = search_path.split(':').filter(|_| !name.is_empty());
        folders.map(|folder| Path::new(folder).join(name)).collect()
    };
    let mut found = Err(format!(
        "exec: {name:?}: executable file not found in $PATH"
    ));
    for path in candidates {
        match check_program(&path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !name.contains('/') => {}
            Err(error) => found = Err(format!("exec: {name:?}: {error}")),
        }
    }
    found
}

fn check_program(path: &Path) -> io::Result<()> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    Ok(())
}

/// Executes the shim's own file again, to serve an application: a clean process, small
/// because it keeps nothing of the one that set the container up.
#[derive(Clone)]
pub(crate) struct Application {
    /// Name and arguments of the process.
    pub(crate) serve: Vec<String>,
    pub(crate) handover: Arc<Handover>,
}

impl Executor for Application {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref();
        let variables = process.and_then(|process| process.env().as_deref());
        if let Err(error) = set_selinux_label(spec) {
            match self.handover.status.try_clone() {
                Ok(status) => tell(&status.into(), &error),
                Err(_) => log::error!("{error}; cannot report this to the shim"),
            }
            std::process::exit(INTERNAL.into());
        }
        let error = match strings(&self.serve).and_then(|args| {
            let environment = strings(&last_of_each(variables.unwrap_or_default()))?;
            Ok((args, environment))
        }) {
            Ok((args, environment)) => self.handover.execute(&args, &environment).to_string(),
            Err(error) => error.to_string(),
        };
        let message = format!("cannot execute Skiff inside the container: {error}");
        match self.handover.status.try_clone() {
            Ok(status) => tell(&status.into(), &message),
            Err(error) => log::error!("{message}; cannot report this to the shim: {error}"),
        }
        std::process::exit(INTERNAL.into())
    }

    // The environment is set at the execution; this process keeps its own.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

/// Variables without repetition: of several with one name the last counts, as it does for
/// the process that prepares the application and for Linux containers. `getenv` would find
/// the first.
fn last_of_each(variables: &[String]) -> Vec<&str> {
    let name = |text: &'_ str| {
        text.split_once('=')
            .map_or(text.len(), |(name, _)| name.len())
    };
    let mut seen = HashSet::new();
    let last = variables.iter().rev().map(String::as_str);
    let mut kept: Vec<_> = last
        .filter(|text| seen.insert(&text[..name(text)]))
        .collect();
    kept.reverse();
    kept
}

fn strings(list: &[impl AsRef<str>]) -> Result<Vec<CString>, NulError> {
    list.iter()
        .map(|text| CString::new(text.as_ref()))
        .collect()
}

/// Reports a failure to the shim. If that fails too, only the exit code remains.
fn tell(status: &File, message: &str) {
    let mut status = status;
    if let Err(error) = status.write_all(message.as_bytes()) {
        log::error!("{message}; cannot report this to the shim: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_is_found_as_runc_would_find_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, "#!/bin/sh").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let path = format!("/does/not/exist:{}", folder.path().display());
        assert_eq!(find_program("program", &path), Ok(()));
        assert_eq!(find_program(program.to_str().unwrap(), ""), Ok(()));
    }

    #[test]
    fn of_a_variable_that_is_set_twice_the_last_counts() {
        let variables = ["A=1", "B=x=y", "A=2", "alone"].map(str::to_owned);
        assert_eq!(last_of_each(&variables), ["B=x=y", "A=2", "alone"]);
    }

    #[test]
    fn what_cannot_be_executed_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data"), "").unwrap();
        let path = folder.path().to_str().unwrap();
        assert_eq!(
            find_program("missing", path).unwrap_err(),
            "exec: \"missing\": executable file not found in $PATH"
        );
        assert_eq!(
            find_program("data", path).unwrap_err(),
            "exec: \"data\": Permission denied (os error 13)"
        );
        assert_eq!(
            find_program("/missing", path).unwrap_err(),
            "exec: \"/missing\": No such file or directory (os error 2)"
        );
        assert_eq!(
            find_program("", path).unwrap_err(),
            "exec: \"\": executable file not found in $PATH"
        );
    }
}
