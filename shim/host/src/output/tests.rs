use std::io::Read as _;
use std::os::fd::OwnedFd;
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

/// A queue in front of a pipe that is not read yet.
fn pipe() -> (OwnedFd, Output) {
    let (reader, writer) = std::io::pipe().unwrap();
    let output = Output::to(writer.into());
    output.start_queueing();
    (reader.into(), output)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

/// Reads until nothing more is written, and at least the given number of bytes.
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
    let (reader, output) = pipe();
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
        // Without the time limit, each line would wait for a second.
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
    let (reader, output) = pipe();
    let reading = std::thread::spawn({
        let output = output.clone();
        move || {
            // Longer than HTTP guests wait.
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
    let (reader, output) = pipe();
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
    let (reader, output) = pipe();
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

/// Prints as guests do, and signals when the last line is taken.
fn print(output: &Output, lines: usize) {
    runtime().block_on(async {
        let mut stream = output.clone().in_lines().stream();
        for number in 0..lines {
            stream.ready().await;
            let line = format!("{number:09999}\n").into();
            stream.write(line).unwrap();
        }
    });
}

#[test]
fn a_pipe_that_is_full_stops_nobody_who_prints_to_another() {
    let (_unread, full) = pipe();
    let (reader, read) = pipe();
    print(&full, 50);
    const LINES: usize = 100;
    let reading = std::thread::spawn({
        let read = read.clone();
        move || read_all(reader, &read, LINES * 10_000)
    });
    print(&read, LINES);
    assert_eq!(reading.join().unwrap().len(), LINES * 10_000);
    let Sink::Queue(full) = &full.sink else {
        panic!("no queue")
    };
    assert!(!full.is_empty());
}

/// A forked process.
struct Child(libc::pid_t);

impl Child {
    /// Runs a function in a forked process; `false` if it failed.
    fn new(does: impl FnOnce() -> bool) -> Child {
        // SAFETY: the child uses nothing that another thread may have left locked but the
        // allocator, which the C library keeps usable.
        match unsafe { libc::fork() } {
            0 => {
                let went_well = does();
                // SAFETY: no preconditions.
                unsafe { libc::_exit(i32::from(!went_well)) }
            }
            child => Child(child),
        }
    }

    fn went_well(self) -> bool {
        let mut status = 0;
        // SAFETY: the child is ours, and the pointer outlives the call.
        unsafe { libc::waitpid(self.0, &mut status, 0) };
        status == 0
    }
}

#[test]
fn lines_of_two_processes_are_whole_however_long_they_are() {
    let (reader, writer) = std::io::pipe().unwrap();
    let output = Output::to(writer.into());
    output.share().unwrap();
    let lines = |letter: char| {
        let lengths = [10, 5_000, 50_000, 20, 65_535, 30_000, 4_096];
        let lines = lengths.into_iter().cycle().take(70);
        lines.map(move |length| format!("{}\n", letter.to_string().repeat(length)))
    };
    let print = |letter| {
        for line in lines(letter) {
            output.pass_on(line.as_bytes());
        }
        true
    };
    let one = Child::new(|| print('a'));
    let other = Child::new(|| print('b'));
    drop(output);
    let text = std::io::read_to_string(reader).unwrap();
    assert!(one.went_well() && other.went_well());
    for letter in ['a', 'b'] {
        let own = text.lines().filter(|line| line.starts_with(letter));
        assert!(own.map(|line| format!("{line}\n")).eq(lines(letter)));
    }
}

#[test]
fn nobody_has_the_turn_at_writing_while_it_waits_for_a_reader() {
    let (reader, writer) = std::io::pipe().unwrap();
    let output = Output::to(writer.into());
    output.share().unwrap();
    let line = [[b'x'; 9_999].as_slice(), b"\n"].concat();
    // More than the pipe can hold.
    let waits = Child::new(|| {
        for _ in 0..20 {
            output.pass_on(&line);
        }
        true
    });
    let Sink::Queue(queue) = &output.sink else {
        panic!("no queue")
    };
    let until = Instant::now() + Duration::from_secs(60);
    let mut held = 0;
    while Instant::now() < until && held < 30_000 {
        held = rustix::io::ioctl_fionread(&reader).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    // It waits from now on; polling takes it no processor time.
    let free = (0..100).filter(|_| {
        std::thread::sleep(Duration::from_millis(1));
        queue.turn_is_free()
    });
    assert!(free.count() > 80);
    drop(output);
    let text = std::io::read_to_string(reader).unwrap();
    assert_eq!(text.len(), 20 * line.len());
    assert!(waits.went_well());
}
