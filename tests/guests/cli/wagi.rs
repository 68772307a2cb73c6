//! A command that WAGI runs: it answers 201 and prints its arguments, its environment and
//! its body. With the argument `exit` it exits with 3, with `silent` it prints no header
//! that an answer needs, and with `trap` it traps.

use std::io::Read;

fn main() {
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
        return;
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
}
