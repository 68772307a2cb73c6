//! Prints its arguments, then its environment, sorted, one a line, and ends well.

fn main() {
    for argument in std::env::args() {
        println!("arg {argument}");
    }
    let mut named: Vec<_> = std::env::vars().collect();
    named.sort();
    for (name, value) in named {
        println!("env {name}={value}");
    }
}
