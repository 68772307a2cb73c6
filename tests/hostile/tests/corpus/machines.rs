//! Machines: full and read-only disks, few descriptors, unread output, and processes that
//! are killed during their work.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use skiff_hostile::{Machine, Skiff, guest};
use skiff_test_support::oci;

#[test]
fn a_full_code_cache_is_a_fault_of_the_node() {
    let full = Machine {
        cache_bytes: Some(16 << 10),
        ..Machine::default()
    };
    Skiff::run(guest("hello")).on(full).refuses(74, &["cache"]);
}

#[test]
fn a_code_cache_that_cannot_be_written_is_a_fault_of_the_node() {
    let read_only = Machine {
        cache_read_only: true,
        ..Machine::default()
    };
    Skiff::run(guest("hello"))
        .on(read_only)
        .refuses(74, &["cache"]);
}

#[test]
fn a_full_temporary_folder_is_a_fault_of_the_node() {
    let full = Machine {
        temporary_bytes: Some(16 << 10),
        ..Machine::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let wasm = fs::read(guest("hello")).expect("readable");
    let layout = oci::wasm_package(&wasm, folder.path().join("layout")).expect("written");
    Skiff::run(layout.folder()).on(full).refuses(74, &[]);
}

#[test]
fn few_descriptors_are_enough_or_are_told() {
    let poor = Machine {
        descriptors: Some(64),
        ..Machine::default()
    };
    let server = Skiff::run(guest("hello")).shared_cache().on(poor).serve();
    for _ in 0..100 {
        server.connect();
    }
    server.is_healthy();
    assert!(server.is_served_soon());
}

#[test]
fn a_reader_of_the_output_who_has_left_stops_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let server = Skiff::run(guest("print-a-lot"))
        .shared_cache()
        .stderr(OwnedFd::from(writer))
        .serve();
    drop(reader);
    assert_eq!(server.get("/?lines=10").status, 200);
    server.is_healthy();
    let (_, status, _) = server.stop();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_reader_of_the_output_who_does_not_read_stops_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let server = Skiff::run(guest("print-a-lot"))
        .shared_cache()
        .env("SKIFF_DRAIN_TIMEOUT", "1s")
        .env("SKIFF_REQUEST_TIMEOUT", "2s")
        .stderr(OwnedFd::from(writer))
        .serve();
    std::thread::scope(|scope| {
        scope.spawn(|| server.get("/?lines=100"));
        for _ in 0..5 {
            server.is_healthy();
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let (_, status, _) = server.stop();
    assert_eq!(status.code(), Some(0));
    drop(reader);
}

#[test]
fn an_output_that_is_full_is_no_reason_to_fail() {
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    let server = Skiff::run(guest("print-lines"))
        .shared_cache()
        .stderr(Stdio::from(full))
        .serve();
    assert_eq!(server.get("/").status, 200);
    server.is_healthy();
}
