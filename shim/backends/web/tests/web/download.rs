//! Components by URL and digest.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use skiff_backend_web::{Client, Downloads};

use crate::server::{Does, Server};

/// Downloads into a folder, in which unfinished ones are as well.
struct Folder {
    folder: tempfile::TempDir,
    downloads: Downloads,
}

impl Folder {
    fn new() -> Self {
        Self::of(Client::new(None).unwrap(), u64::MAX)
    }

    fn of(client: Client, most: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let downloads = Downloads::new(folder.path().to_owned(), client).up_to(most);
        Folder { folder, downloads }
    }

    fn get(&self, url: &str, digest: &str) -> Result<PathBuf, String> {
        let downloaded = self.downloads.get(url, digest, self.folder.path());
        downloaded.map_err(|error| error.to_string())
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[test]
fn a_file_is_kept_until_it_is_changed() {
    let folder = Folder::new();
    let server = Server::new(|request| match request.line.as_str() {
        "GET /moved" => Does::Redirect("/a.wasm".to_owned()),
        "GET /a.wasm" => Does::Answer(200, b"wasm".to_vec()),
        _ => Does::Answer(404, Vec::new()),
    });
    let url = format!("{}/moved", server.url);
    let digest = digest(b"wasm");
    assert_eq!(folder.downloads.kept(&digest), None);
    let file = folder.get(&url, &digest).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"wasm");
    assert_eq!(folder.downloads.kept(&digest), Some(file.clone()));
    fs::write(&file, "other").unwrap();
    assert_eq!(folder.downloads.kept(&digest), None);
    folder.get(&url, &digest).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"wasm");
}

#[test]
fn what_is_not_what_the_manifest_names_is_refused_and_not_kept() {
    let folder = Folder::of(Client::new(None).unwrap(), 100);
    let server = Server::new(|request| match request.line.as_str() {
        "GET /file?token=s3cret" => Does::Redirect("file:///etc/s3cret".to_owned()),
        "GET /nowhere?token=s3cret" => Does::Redirect("http://s3cret:x".to_owned()),
        "GET /loop?token=s3cret" => Does::Redirect("/loop?token=s3cret".to_owned()),
        "GET /broken?token=s3cret" => Does::BreaksOff(b"wasm".to_vec()),
        "GET /a.wasm?token=s3cret" => Does::Answer(200, b"wasm".to_vec()),
        _ => Does::Answer(404, Vec::new()),
    });
    let large = Server::new(|_| Does::Answer(200, vec![0; 101]));
    let other = digest(b"wasn");
    for (url, digest, expected) in [
        (
            format!("{}/a.wasm?token=s3cret", server.url),
            other.clone(),
            format!(
                "has the digest `{}`, and `{other}` is expected",
                digest(b"wasm")
            ),
        ),
        (
            format!("{}/none?token=s3cret", server.url),
            other.clone(),
            "it answered with status 404".to_owned(),
        ),
        (
            format!("{}/broken?token=s3cret", server.url),
            digest(b"wasm"),
            format!(
                "cannot download `{}/broken`: the server ended the connection",
                server.url
            ),
        ),
        (
            format!("{}/file?token=s3cret", server.url),
            digest(b"wasm"),
            format!(
                "cannot download `{}/file`: it redirects to `file:`, and only",
                server.url
            ),
        ),
        (
            format!("{}/nowhere?token=s3cret", server.url),
            digest(b"wasm"),
            "it redirects to what is not a URL".to_owned(),
        ),
        (
            format!("{}/loop?token=s3cret", server.url),
            digest(b"wasm"),
            "it redirects more than 10 times".to_owned(),
        ),
        (
            large.url.clone(),
            digest(&[0; 101]),
            "has more than 100 bytes".to_owned(),
        ),
        (
            "http://127.0.0.1:1/a".to_owned(),
            other.clone(),
            "refused".to_owned(),
        ),
        (
            "ftp://x/a".to_owned(),
            other.clone(),
            "its URL must be a URL with a host that begins with `http://` or `https://`".to_owned(),
        ),
    ] {
        let error = folder.get(&url, &digest).unwrap_err();
        assert!(error.contains(&expected), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    assert_eq!(fs::read_dir(folder.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_server_that_does_not_answer_is_given_up_with_its_time() {
    let client = Client::new(None).unwrap();
    let folder = Folder::of(client.with_patience(Duration::from_millis(50)), 100);
    let server = Server::new(|_| Does::Nothing);
    let error = folder.get(&server.url, &digest(b"wasm")).unwrap_err();
    let expected = "it did not begin to answer within 50ms";
    assert_eq!(
        error,
        format!("cannot download `{}`: {expected}", server.url)
    );
}

#[test]
fn a_folder_that_cannot_be_used_is_told() {
    let folder = Folder::new();
    let nowhere = Path::new("/nowhere/at-all");
    let downloads = &folder.downloads;
    let error = downloads.get("http://127.0.0.1:1/a", &digest(b""), nowhere);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("cannot keep downloads in `"), "{error}");
}
