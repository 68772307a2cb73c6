//! The output of guests with fast and slow readers, and without a reader.

mod support;

use std::io::Read;
use std::thread;

use support::{HEALTH, Skiff};

#[test]
fn lines_of_two_workers_are_not_torn_on_either_stream() {
    const CLIENTS: usize = 16;
    const REQUESTS: usize = 5;
    const LINES: usize = 50;
    const LENGTH: usize = 5000;
    let skiff = Skiff::component("print-a-lot")
        .env("SKIFF_WORKERS", "2")
        .start();
    let path = format!("/?lines={LINES}&length={LENGTH}");
    thread::scope(|scope| {
        let ask = || {
            for _ in 0..REQUESTS {
                assert_eq!(skiff.get(&path).status, 200);
            }
        };
        for _ in 0..CLIENTS {
            scope.spawn(ask);
        }
    });
    let ended = skiff.stop();
    for (text, word, letter) in [(ended.stdout, "out", "o"), (ended.stderr, "err", "e")] {
        for number in 0..LINES {
            let start = format!("{word} {number:06} ");
            let whole = start.clone() + &letter.repeat(LENGTH - start.len());
            let came = text.lines().filter(|line| *line == whole).count();
            assert_eq!(came, CLIENTS * REQUESTS, "{start}");
        }
    }
}

#[test]
fn much_output_does_not_stop_a_guest() {
    let skiff = Skiff::component("print-a-lot").start();
    assert_eq!(skiff.get("/?lines=20&length=100000").status, 200);
    let ended = skiff.stop();
    assert!(ended.stdout.len() + ended.stderr.len() > 1_000_000);
}

#[test]
fn a_reader_that_has_stopped_stops_neither_requests_nor_health_nor_the_signal() {
    for workers in ["1", "2"] {
        // Both stay open, but are not read.
        let (mut skiff, _stdout, _stderr) = Skiff::component("print-a-lot")
            .env("SKIFF_WORKERS", workers)
            .env("SKIFF_ACCESS_LOG", "true")
            .start_unread();
        for _ in 0..6 {
            assert_eq!(skiff.get("/?lines=40&length=50000").status, 200);
            assert_eq!(skiff.get(HEALTH).text(), "OK");
        }
        skiff.signal(libc::SIGTERM);
        assert_eq!(skiff.wait().status.code(), Some(0));
    }
}

#[test]
fn what_was_not_read_is_dropped_counted_and_said() {
    let (mut skiff, mut stdout, mut stderr) = Skiff::component("print-a-lot")
        .env("SKIFF_WORKERS", "1")
        .start_unread();
    for _ in 0..3 {
        assert_eq!(skiff.get("/?lines=40&length=50000").status, 200);
    }
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    skiff.signal(libc::SIGTERM);
    assert_eq!(skiff.wait().status.code(), Some(0));
    let (read, errors) = (read.join().unwrap(), errors.join().unwrap());
    assert!(errors.contains("Output was dropped"), "{}", errors.len());
    // Whatever was kept is complete: lines of 50,000 bytes, and the routes.
    let lines = read.lines().filter(|line| !line.contains("http"));
    let lengths: Vec<_> = lines.map(str::len).collect();
    assert!(!lengths.is_empty());
    assert!(
        lengths.iter().all(|length| *length == lengths[0]),
        "{lengths:?}"
    );
}

#[test]
fn what_is_lost_at_the_end_is_counted_in_lines() {
    const LINES: u64 = 60;
    let (mut skiff, _unread, mut stderr) = Skiff::component("print-a-lot")
        .env("SKIFF_WORKERS", "1")
        .start_unread();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let path = format!("/?lines={LINES}&length=100000");
    assert_eq!(skiff.get(&path).status, 200);
    skiff.signal(libc::SIGTERM);
    assert_eq!(skiff.wait().status.code(), Some(0));
    let errors = errors.join().unwrap();
    let lost = errors
        .lines()
        .filter(|line| line.contains("Output was dropped"));
    let lost = lost.filter_map(|line| line.split_once("lines=")?.1.split_whitespace().next());
    let lost: u64 = lost.map(|count| count.parse::<u64>().unwrap()).sum();
    // It prints as many to standard error, of which what was not lost was read.
    let read = errors.lines().filter(|line| line.starts_with("err "));
    let all = lost + read.count() as u64;
    // What the pipe holds is not lost: less than a line, and the routes. A line may have been
    // read up to where its rest was lost.
    assert!((2 * LINES - 1..=2 * LINES + 1).contains(&all), "{all}");
}

#[test]
fn who_prints_little_to_a_reader_needs_no_thread_for_it() {
    let skiff = Skiff::component("hello").env("SKIFF_WORKERS", "1").start();
    assert_eq!(skiff.get("/").status, 200);
    let threads = std::fs::read_dir(format!("/proc/{}/task", skiff.id())).unwrap();
    assert_eq!(threads.count(), 1);
}
