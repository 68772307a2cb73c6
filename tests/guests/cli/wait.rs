//! A command that prints that it has begun and then waits `SECONDS` (default: an hour)
//! before it succeeds.

use std::time::Duration;

fn main() {
    let seconds = std::env::var("SECONDS").ok();
    let seconds = seconds.map_or(3600, |text| text.parse().expect("a number"));
    println!("waiting");
    std::thread::sleep(Duration::from_secs(seconds));
    println!("waited");
}
