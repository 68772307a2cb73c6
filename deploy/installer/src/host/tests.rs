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
