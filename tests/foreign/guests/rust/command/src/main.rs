//! The program of every toolchain, in Rust's standard library: see README.md.

use std::collections::HashSet;
use std::env::args;
use std::io::{self, BufRead as _, Write as _};

fn main() -> io::Result<()> {
    let mode = args().nth(1).unwrap_or_default();
    let mut out = io::stdout().lock();
    match mode.as_str() {
        "cat" => {
            io::copy(&mut io::stdin().lock(), &mut out)?;
        }
        "words" => {
            let text = io::read_to_string(io::stdin().lock())?;
            let all = text.split_whitespace().count();
            let different: HashSet<&str> = text.split_whitespace().collect();
            writeln!(out, "{all} words, {} different", different.len())?;
        }
        "lines" => {
            for i in 0..number() {
                writeln!(out, "line {i}")?;
            }
        }
        "prompt" => {
            write!(out, "name? ")?;
            out.flush()?;
            let mut name = String::new();
            io::stdin().lock().read_line(&mut name)?;
            write!(out, "hello {name}")?;
        }
        "given" => {
            for argument in args().skip(2) {
                writeln!(out, "argument {argument}")?;
            }
            let greeting = std::env::var("GREETING").unwrap_or_default();
            writeln!(out, "greeting {greeting}")?;
        }
        "exit" => std::process::exit(number()),
        "temp-dir" => writeln!(out, "{}", std::env::temp_dir().display())?,
        other => panic!("no mode {other:?}"),
    }
    out.flush()
}

/// The argument after the mode.
fn number() -> i32 {
    args().nth(2).and_then(|n| n.parse().ok()).expect("a number")
}
