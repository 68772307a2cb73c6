//! The temporary folders of a run.

use std::io;
use std::path::Path;

/// An empty folder at that path; earlier content is removed.
///
/// # Errors
/// If the earlier content cannot be removed, or the folder not made.
pub fn empty(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::create_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_emptied_or_made() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("new");
        empty(&folder).expect("it is made");
        std::fs::write(folder.join("old"), "text").expect("it can be filled");
        empty(&folder).expect("it is emptied");
        assert_eq!(std::fs::read_dir(&folder).expect("it is there").count(), 0);
    }
}
