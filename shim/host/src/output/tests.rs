use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use super::*;

#[test]
fn lines_are_passed_on_whole_and_the_last_one_is_ended() {
    let output = Output::memory().in_lines();
    let mut first = output.stream();
    let mut second = output.stream();
    first.push(b"one ");
    second.push(b"two\n");
    first.push(b"three\nfour");
    assert_eq!(output.kept(), b"two\none three\n");
    drop(first);
    assert_eq!(output.kept(), b"two\none three\nfour\n");
}

#[test]
fn bytes_of_a_command_are_passed_on_as_they_are_when_they_come() {
    let output = Output::memory();
    let mut stream = output.stream();
    stream.push(b"name? ");
    assert_eq!(output.kept(), b"name? ");
    stream.push(b"\0\xff\n\r");
    drop(stream);
    assert_eq!(output.kept(), b"name? \0\xff\n\r");
}

#[test]
fn a_line_without_end_does_not_fill_memory() {
    let output = Output::memory().in_lines();
    let mut line = output.stream();
    for _ in 0..100 {
        line.push(&[b'x'; 1024]);
    }
    assert!(output.kept().len() >= 64 << 10);
}

/// A queue in front of a pipe that nobody reads yet.
fn pipe() -> (OwnedFd, OwnedFd, Output) {
    let (reader, writer) = std::io::pipe().unwrap();
    let queue = Arc::new(Queue::new(writer.as_raw_fd()));
    queue_output();
    (
        reader.into(),
        writer.into(),
        Output::new(Sink::Queue(queue)),
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

/// Reads until nothing more is written, and as many bytes as come at least.
fn read_all(reader: OwnedFd, output: &Output, least: usize) -> Vec<u8> {
    let Sink::Queue(queue) = &output.sink else {
        panic!("no queue")
    };
    let mut all = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let mut reader = std::fs::File::from(reader);
    loop {
        let is_last = queue.is_empty();
        match reader.read(&mut buffer) {
            Ok(read @ 1..) => all.extend_from_slice(&buffer[..read]),
            _ if is_last && all.len() >= least => return all,
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

#[test]
fn a_pipe_that_nobody_reads_stops_no_guest_for_longer_than_a_second() {
    let (reader, _writer, output) = pipe();
    let line = [[b'x'; 9_999].as_slice(), b"\n"].concat();
    let printed = 1000;
    runtime().block_on(async {
        let mut stream = output.clone().in_lines().stream();
        let printing = async {
            for _ in 0..printed {
                stream.ready().await;
                stream.write(Bytes::copy_from_slice(&line)).unwrap();
            }
        };
        // Each line would wait for a second were it not for the rule.
        let all = tokio::time::timeout(Duration::from_secs(60), printing).await;
        all.expect("nobody waits");
    });
    let read = read_all(reader, &output, 0);
    assert!(read.chunks(line.len()).all(|chunk| chunk == line));
    let read = read.len() / line.len();
    assert!((50..printed).contains(&read), "{read} lines were kept");
}

#[test]
fn a_command_waits_for_its_reader_and_loses_nothing() {
    const SENT: usize = 4 << 20;
    let (reader, _writer, output) = pipe();
    let reading = std::thread::spawn({
        let output = output.clone();
        move || {
            // Longer than what HTTP guests wait for.
            std::thread::sleep(queue::PATIENCE * 2);
            read_all(reader, &output, SENT)
        }
    });
    let sent: Vec<u8> = (0..4 << 20).map(|n| n as u8 ^ (n >> 8) as u8).collect();
    runtime().block_on(async {
        let mut stream = output.stream();
        for piece in sent.chunks(LONGEST_LINE) {
            stream.ready().await;
            assert!(stream.check_write().unwrap() >= piece.len());
            stream.write(Bytes::copy_from_slice(piece)).unwrap();
        }
        output.flushed().await;
    });
    assert!(reading.join().unwrap() == sent);
}

#[test]
fn our_own_log_never_waits_and_finds_room_behind_what_guests_print() {
    let (reader, _writer, output) = pipe();
    let mut stream = output.clone().in_lines().stream();
    let line = [[b'x'; 9_999].as_slice(), b"\n"].concat();
    for _ in 0..1000 {
        stream.push(&line);
    }
    io::Write::write_all(&mut output.clone(), b"a line of the log\n").unwrap();
    let read = read_all(reader, &output, 0);
    assert!(read.ends_with(b"a line of the log\n"));
}

#[test]
fn a_command_is_told_that_its_reader_has_gone() {
    let (reader, _writer, output) = pipe();
    drop(reader);
    runtime().block_on(async {
        let mut stream = output.stream();
        stream.write(Bytes::from_static(b"x")).unwrap();
        output.flushed().await;
        assert!(matches!(stream.check_write(), Err(StreamError::Closed)));
        let mut guest = output.clone().in_lines().stream();
        guest.check_write().unwrap();
    });
}
