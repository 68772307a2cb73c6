//! Components by URL and digest.

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use skiff_backend_web::{Client, Downloads};

use crate::server::{Does, Server};

fn downloads(folder: &Path) -> Downloads {
    Downloads::new(folder.join("downloads"), Client::new(None).unwrap())
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[test]
fn a_file_is_downloaded_once_and_again_when_it_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let downloads = downloads(folder.path());
    let server = Server::new(|request| match request.line.as_str() {
        "GET /moved" => Does::Redirect("/a.wasm".to_owned()),
        "GET /a.wasm" => Does::Answer(200, b"wasm".to_vec()),
        _ => Does::Answer(404, Vec::new()),
    });
    let url = format!("{}/moved", server.url);
    for _ in 0..2 {
        let file = downloads.get(&url, &digest(b"wasm")).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"wasm");
        assert_eq!(server.requests().len(), 2);
    }
    let file = downloads.get(&url, &digest(b"wasm")).unwrap();
    fs::write(&file, "other").unwrap();
    downloads.get(&url, &digest(b"wasm")).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"wasm");
}

#[test]
fn what_is_not_what_the_manifest_names_is_refused_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|request| match request.line.as_str() {
        "GET /loop?token=s3cret" => Does::Redirect("/loop?token=s3cret".to_owned()),
        "GET /broken?token=s3cret" => Does::BreaksOff(b"wasm".to_vec()),
        "GET /a.wasm?token=s3cret" => Does::Answer(200, b"wasm".to_vec()),
        _ => Does::Answer(404, Vec::new()),
    });
    let downloads = downloads(folder.path()).up_to(100);
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
            "cannot download `".to_owned(),
        ),
        (
            format!("{}/loop?token=s3cret", server.url),
            digest(b"wasm"),
            "redirect".to_owned(),
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
        let error = downloads.get(&url, &digest).unwrap_err().to_string();
        assert!(error.contains(&expected), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    let kept = fs::read_dir(folder.path().join("downloads"))
        .unwrap()
        .count();
    assert_eq!(kept, 0);
}

#[test]
fn a_folder_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("downloads"), "a file").unwrap();
    let error = downloads(folder.path()).get("http://127.0.0.1:1/a", &digest(b""));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("cannot keep downloads in `"), "{error}");
}
