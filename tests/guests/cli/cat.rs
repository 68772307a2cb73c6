//! Copies stdin to stdout, then says on stderr how many bytes that were.

use std::io;

fn main() {
    let copied = io::copy(&mut io::stdin(), &mut io::stdout()).expect("both are open");
    eprintln!("{copied} bytes");
}
