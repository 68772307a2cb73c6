//! A command that WAGI runs: it answers 201 and prints its arguments, its environment and
//! its body. With the argument `exit` it exits with 3, with `silent` it prints no header
//! that an answer needs, with `nothing` nothing at all, with `text` no header, with `status` a
//! status that is none, with `large` more than any host keeps, with `fails` it answers and returns an
//! error, and with `trap` it traps.

use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if has("exit") {
        std::process::exit(3);
    }
    if has("trap") {
        panic!("as asked");
    }
    if has("silent") {
        println!("x-from: cgi\n\nnothing");
        return ExitCode::SUCCESS;
    }
    if has("nothing") {
        return ExitCode::SUCCESS;
    }
    if has("text") {
        println!("hello");
        return ExitCode::SUCCESS;
    }
    if has("status") {
        println!("status: many\n\nhello");
        return ExitCode::SUCCESS;
    }
    if has("large") {
        println!("status: 200\n");
        let piece = [b'x'; 1 << 16];
        for _ in 0..2049 {
            let mut stdout = std::io::stdout();
            // The host may end it.
            if stdout.write_all(&piece).is_err() {
                return ExitCode::SUCCESS;
            }
        }
        return ExitCode::SUCCESS;
    }
    println!("content-type: text/plain\nstatus: 201 Created\nX-From: cgi\n");
    for argument in &arguments {
        println!("arg {argument}");
    }
    let mut named: Vec<_> = std::env::vars().collect();
    named.sort();
    for (name, value) in named {
        println!("env {name}={value}");
    }
    let mut body = String::new();
    std::io::stdin()
        .read_to_string(&mut body)
        .expect("a body in UTF-8");
    println!("body {body}");
    ExitCode::from(u8::from(has("fails")))
}
