//! A folder with its content, as a value.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Folder,
    Link(PathBuf),
    File { bytes: Vec<u8>, executable: bool },
}

/// The content of a folder, by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<PathBuf, Item>);

impl Tree {
    pub(crate) fn of(folder: &Path) -> Self {
        let mut items = BTreeMap::new();
        collect(folder, Path::new("/"), &mut items);
        Self(items)
    }

    /// Without what Git does not keep: empty folders, and execute permissions.
    pub(crate) fn checked_out(mut self) -> Self {
        self.0.retain(|_, item| *item != Item::Folder);
        for item in self.0.values_mut() {
            if let Item::File { executable, .. } = item {
                *executable = false;
            }
        }
        self
    }

    /// The differences from another one, one per line.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let mut text = String::new();
        let paths = self.0.keys().chain(other.0.keys());
        let mut paths: Vec<_> = paths.collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            let (one, two) = (self.0.get(path), other.0.get(path));
            if one != two {
                let (one, two) = (told(one), told(two));
                writeln!(text, "{}: should be {one}\n  and is {two}", path.display())
                    .expect("memory");
            }
        }
        text
    }
}

fn told(item: Option<&Item>) -> String {
    match item {
        None => "nothing".to_owned(),
        Some(Item::Folder) => "a folder".to_owned(),
        Some(Item::Link(target)) => format!("a link to {}", target.display()),
        Some(Item::File { bytes, executable }) => {
            let kind = if *executable { "a program" } else { "a file" };
            format!("{kind} with {:?}", String::from_utf8_lossy(bytes))
        }
    }
}

fn collect(folder: &Path, name: &Path, items: &mut BTreeMap<PathBuf, Item>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        let data = entry.metadata().expect("there");
        let item = if data.is_symlink() {
            Item::Link(fs::read_link(&path).expect("a link"))
        } else if data.is_dir() {
            collect(&path, &name, items);
            Item::Folder
        } else {
            Item::File {
                bytes: fs::read(&path).expect("readable"),
                executable: data.permissions().mode() & 0o111 != 0,
            }
        };
        items.insert(name, item);
    }
}

/// Copies a folder, keeping its links.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, place) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("there");
        if kind.is_symlink() {
            symlink(fs::read_link(&path).expect("a link"), place).expect("linked");
        } else if kind.is_dir() {
            copy(&path, &place);
        } else {
            fs::copy(&path, place).expect("copied");
        }
    }
}
