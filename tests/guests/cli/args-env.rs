//! Prints its arguments, then its environment, sorted, one per line, and succeeds.

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
