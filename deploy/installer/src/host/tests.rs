//! Links, modes and what is left behind.

use super::*;

fn host() -> (tempfile::TempDir, Host) {
    let folder = tempfile::tempdir().expect("a folder");
    let host = Host::new(folder.path());
    (folder, host)
}

#[test]
fn absolute_links_stay_within_the_root() {
    let (folder, host) = host();
    fs::create_dir_all(folder.path().join("mnt/real")).expect("made");
    fs::create_dir_all(folder.path().join("etc")).expect("made");
    symlink("/mnt/real", folder.path().join("etc/containerd")).expect("linked");
    symlink(
        "../../../../outside.toml",
        folder.path().join("mnt/real/config.toml"),
    )
    .expect("linked");
    host.write(Path::new("/etc/containerd/config.toml"), b"text")
        .expect("written");
    let written = fs::read(folder.path().join("outside.toml")).expect("within the root");
    assert_eq!(written, b"text");
    assert!(folder.path().join("mnt/real/config.toml").is_symlink());
}

#[test]
fn links_in_a_circle_are_refused() {
    let (folder, host) = host();
    symlink("/b", folder.path().join("a")).expect("linked");
    symlink("/a", folder.path().join("b")).expect("linked");
    let error = host.read(Path::new("/a")).expect_err("a circle");
    assert_eq!(error.to_string(), "cannot follow `/a` on the node");
}

#[test]
fn a_replaced_file_keeps_its_mode() {
    let (folder, host) = host();
    let file = folder.path().join("secret.toml");
    fs::write(&file, "old").expect("written");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("set");
    host.write(Path::new("/secret.toml"), b"new")
        .expect("written");
    let mode = fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(host.names_in(Path::new("/")).expect("listed").len(), 1);
}

/// A file was readable to all until its mode was set, and what keeps one stayed so.
#[test]
fn nobody_else_reads_a_file_while_it_is_written_nor_what_keeps_it() {
    let (folder, host) = host();
    let file = folder.path().join("partial");
    drop(create_private(&file).expect("made"));
    let mode = |path: &Path| {
        let metadata = fs::metadata(path).expect("there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(&file), 0o600);
    host.write_like(Path::new("/kept"), b"secret", Path::new("/partial"))
        .expect("written");
    assert_eq!(mode(&folder.path().join("kept")), 0o600);
    host.write(Path::new("/new"), b"text").expect("written");
    assert_eq!(mode(&folder.path().join("new")), 0o644);
}
