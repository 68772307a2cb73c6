//! Returns an error from `wasi:cli/run`, which carries no code.

fn main() -> Result<(), String> {
    Err("the work could not be done".to_owned())
}
