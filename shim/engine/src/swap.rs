//! Whether the kernel may write a guest's memory to a disk.

use std::fs;

/// What the kernel swaps to, below a line of titles.
const SWAPS: &str = "/proc/swaps";

/// Whether there is any swap. Where that cannot be told, there is.
pub(crate) fn is_on() -> bool {
    fs::read_to_string(SWAPS).map_or(true, |text| text.lines().count() > 1)
}
