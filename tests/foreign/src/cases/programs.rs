//! Programs that run to their end.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};

use super::{compare, inputs};
use crate::command::{Ended, Start, by_skiff, by_wasmtime};
use crate::toolchains::{Guest, PROGRAMS};
use crate::workshop::Workshop;

/// Component guests: their `wasi:cli/exit` can only report success or failure.
const TELL_ONLY_FAILURE: [&str; 3] = ["rust-wasip2", "javascript", "python"];

/// A task for a guest, and the expected result.
struct Case {
    name: &'static str,
    start: Start,
    right: Option<Ended>,
}

pub(super) fn trials(workshop: &Arc<Workshop>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for guest in PROGRAMS {
        for case in cases(guest) {
            let workshop = workshop.clone();
            trials.push(Trial::test(
                format!("{}::{}", guest.name, case.name),
                move || run(&workshop, guest, &case),
            ));
        }
    }
    trials
}

fn run(workshop: &Workshop, guest: Guest, case: &Case) -> Result<(), Failed> {
    let file = workshop.guest(guest)?;
    let (wasmtime, beside) = by_wasmtime(workshop, &file, &case.start)?;
    let (skiff, said) = by_skiff(workshop, &file, &case.start)?;
    let said = format!("skiff said:\n{said}\nwasmtime said:\n{beside}");
    compare(&skiff, Some(&wasmtime), case.right.as_ref(), &said)
}

fn cases(guest: Guest) -> Vec<Case> {
    let (words, counted) = inputs::words();
    let bytes = inputs::bytes();
    let lines: String = (0..100_000).map(|i| format!("line {i}\n")).collect();
    let exit = if TELL_ONLY_FAILURE.contains(&guest.name) {
        1
    } else {
        7
    };
    let given = "argument a\nargument b c\nargument é\ngreeting good morning\n";
    let mut cases = vec![
        case("cat", &["cat"], &bytes).gives(&bytes),
        case("cat_of_nothing", &["cat"], b"").gives(b""),
        case("words", &["words"], &words).gives(counted.as_bytes()),
        case("lines", &["lines", "100000"], b"").gives(lines.as_bytes()),
        case("prompt", &["prompt"], b"Ada\n").gives(b"name? hello Ada\n"),
        case("given", &["given", "a", "b c", "é"], b"").gives(given.as_bytes()),
        case("exits_well", &["exit", "0"], b"").gives(b""),
        case("exits_badly", &["exit", "7"], b"").ends(exit, b""),
    ];
    // Each language ends differently after an unexpected failure, but both programs must
    // report it alike. AssemblyScript asks for exit code 255, which the engine refuses: 1
    // under the one program, 134 under the other.
    if guest.name != "assemblyscript" {
        cases.push(case("fails", &["no-such-mode"], b""));
    }
    match guest.name {
        "assemblyscript" | "javascript" => {
            let printed = [b"x".repeat(200_000).as_slice(), b"\n"].concat();
            cases.push(case("large_print", &["large-print"], b"").gives(&printed));
        }
        "rust-wasip1" | "rust-wasip2" => {
            cases.push(case("temp_dir_panics", &["temp-dir"], b"").ends(134, b""));
        }
        _ => (),
    }
    cases
}

fn case(name: &'static str, arguments: &[&str], input: &[u8]) -> Case {
    let start = Start {
        arguments: arguments.iter().map(|&one| one.to_owned()).collect(),
        input: input.to_vec(),
    };
    Case {
        name,
        start,
        right: None,
    }
}

impl Case {
    /// It succeeds with this output.
    fn gives(self, stdout: &[u8]) -> Case {
        self.ends(0, stdout)
    }

    fn ends(mut self, code: i32, stdout: &[u8]) -> Case {
        self.right = Some(Ended {
            code: Some(code),
            stdout: stdout.to_vec(),
        });
        self
    }
}
