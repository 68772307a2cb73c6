//! Handling of untrusted paths.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

/// How many links a path may go through, as on Linux.
const MAX_LINKS: usize = 40;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is empty.
    #[error("the path is empty")]
    Empty,
    /// It starts at the root.
    #[error("the path is absolute")]
    Absolute,
    /// It contains `..`.
    #[error("the path contains `..`")]
    Parent,
    /// It has a NUL byte.
    #[error("the path contains a NUL byte")]
    Nul,
}

/// The parts of a relative path, without `.` and with no `..` among them.
///
/// An empty result means the folder itself (`./`).
pub(crate) fn relative(path: &Path) -> Result<PathBuf, PathError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return Err(PathError::Empty);
    }
    if bytes.contains(&0) {
        return Err(PathError::Nul);
    }
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err(PathError::Parent),
            Component::RootDir | Component::Prefix(_) => return Err(PathError::Absolute),
        }
    }
    Ok(parts)
}

/// The same for the path of a file, which cannot be the folder itself.
pub(crate) fn relative_file(path: &Path) -> Result<PathBuf, PathError> {
    let parts = relative(path)?;
    if parts.as_os_str().is_empty() {
        return Err(PathError::Empty);
    }
    Ok(parts)
}

/// Whether a link at `link` (a clean path, relative to the root) with this target leads out
/// of the root. An absolute target starts at the root's own `/`, so it cannot.
pub(crate) fn leads_out(link: &Path, target: &Path) -> bool {
    let mut depth = if target.is_absolute() {
        0
    } else {
        link.components().count().saturating_sub(1)
    };
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth == 0 => return !target.is_absolute(),
            Component::ParentDir => depth -= 1,
            _ => {}
        }
    }
    false
}

/// Resolves `path` below `root` as if `root` were `/`: links are followed, absolute ones
/// restart at `root`, and `..` stops there.
///
/// Parts that do not exist are kept as written. The result has no links in it, as long as
/// the tree does not change meanwhile.
pub(crate) fn in_root(root: &Path, path: &Path) -> io::Result<PathBuf> {
    follow(root, path, |path| match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => path.read_link().map(Some),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    })
}

/// The same, with `link` returning the target of a link at a path, if there is one.
pub(crate) fn follow(
    root: &Path,
    path: &Path,
    link: impl Fn(&Path) -> io::Result<Option<PathBuf>>,
) -> io::Result<PathBuf> {
    let mut rest: VecDeque<OsString> = VecDeque::new();
    prepend(&mut rest, path);
    let mut resolved = root.to_owned();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            if resolved != root {
                resolved.pop();
            }
            continue;
        }
        resolved.push(&part);
        let Some(target) = link(&resolved)? else {
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::other("too many levels of symbolic links"));
        }
        if target.is_absolute() {
            resolved = root.to_owned();
        } else {
            resolved.pop();
        }
        prepend(&mut rest, &target);
    }
    Ok(resolved)
}

fn prepend(rest: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(part) => rest.push_front(part.to_owned()),
            Component::ParentDir => rest.push_front(OsStr::new("..").to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn relative_paths_lose_their_dots() {
        assert_eq!(
            relative(Path::new("./a//b/./c")).unwrap(),
            Path::new("a/b/c")
        );
        assert_eq!(relative(Path::new("./")).unwrap(), Path::new(""));
    }

    #[test]
    fn every_way_out_is_refused() {
        for (path, error) in [
            ("../a", PathError::Parent),
            ("a/../../b", PathError::Parent),
            ("a/..", PathError::Parent),
            ("/etc/passwd", PathError::Absolute),
            ("//a", PathError::Absolute),
            ("", PathError::Empty),
            ("a\0b", PathError::Nul),
        ] {
            assert_eq!(relative(Path::new(path)), Err(error), "{path}");
        }
        assert_eq!(relative_file(Path::new("./.")), Err(PathError::Empty));
    }

    #[test]
    fn links_are_judged_by_where_they_lead() {
        let out = |link: &str, target: &str| leads_out(Path::new(link), Path::new(target));
        assert!(out("a", ".."));
        assert!(out("a/b", "../../c"));
        assert!(out("a", "b/../../c"));
        assert!(out("", ".."));
        assert!(!out("", "a"));
        assert!(!out("a/b", "../c"));
        assert!(!out("a/b/c", "../.././d"));
        assert!(!out("a", "/etc/../../passwd"));
    }

    #[test]
    fn links_in_a_root_stay_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        symlink("/usr/lib", root.join("lib")).unwrap();
        symlink("../../../../etc", root.join("usr/up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();

        let at = |path: &str| in_root(&root, Path::new(path)).unwrap();
        assert_eq!(at("/lib/x.so"), root.join("usr/lib/x.so"));
        assert_eq!(at("usr/up/passwd"), root.join("etc/passwd"));
        assert_eq!(at("../../lib/../x"), root.join("usr/x"));
        let error = in_root(&root, Path::new("loop/x")).unwrap_err();
        assert!(error.to_string().contains("symbolic links"), "{error}");
    }
}

#[cfg(test)]
mod properties {
    use std::os::unix::fs::symlink;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn path() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just(".."),
            Just("."),
            Just(""),
            Just("a"),
            Just("b"),
            Just("c")
        ];
        vec(part, 1..6).prop_map(|parts| parts.join("/"))
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_below(path in ".{0,40}|[./a\0]{0,12}") {
            if let Ok(clean) = relative(Path::new(&path)) {
                prop_assert!(clean.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert!(!path.starts_with('/') && !path.contains('\0'));
            }
        }

        #[test]
        fn no_link_leads_out_of_a_root(links in vec((path(), path()), 0..6), wanted in path()) {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("root");
            std::fs::create_dir(&root).unwrap();
            for (link, target) in &links {
                let Ok(at) = in_root(&root, Path::new(link)) else { continue };
                let parent = at.parent().unwrap();
                // A path blocked by a link or file is simply not created.
                if std::fs::create_dir_all(parent).is_ok() && at != root && !target.is_empty() {
                    let made = symlink(target, &at);
                    prop_assert!(made.is_ok() || at.symlink_metadata().is_ok());
                }
            }
            if let Ok(found) = in_root(&root, Path::new(&wanted)) {
                prop_assert!(found.starts_with(&root), "{}", found.display());
            }
        }
    }
}
