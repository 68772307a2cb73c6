//! Ends with the code in `CODE` or in its last argument, or by a panic if that is
//! `panic`.
//!
//! Without either it ends with 3. It prints to stderr what it does.

fn main() {
    let asked = std::env::var("CODE")
        .ok()
        .or_else(|| std::env::args().next_back());
    if asked.as_deref() == Some("panic") {
        panic!("this guest was asked to panic");
    }
    // The last argument is the program's own name if there is no other.
    let code = asked.and_then(|text| text.parse().ok()).unwrap_or(3);
    eprintln!("ending with {code}");
    std::process::exit(code);
}
