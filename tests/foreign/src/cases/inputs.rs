//! Inputs that are large, and the same in every run.

/// Many times the size that a host passes at once.
pub(super) const MANY_BYTES: usize = 2_000_000;

/// Bytes of every value, without a pattern that would survive a shift or a swap of
/// blocks.
pub(super) fn bytes() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        // Knuth's generator: the numbers need not be unpredictable, only different.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..MANY_BYTES).map(|_| next()).collect()
}

/// 1.4 MB of words, with their number and the number of different ones.
pub(super) fn words() -> (Vec<u8>, String) {
    const ALL: usize = 145_000;
    const DIFFERENT: usize = 20_000;
    // A step that is coprime to the number of different words visits each of them.
    let words: Vec<String> = (0..ALL)
        .map(|i| format!("word{:05}", i * 7_919 % DIFFERENT))
        .collect();
    let text = words.join(" ").into_bytes();
    (text, format!("{ALL} words, {DIFFERENT} different\n"))
}

/// The servers' answer under `/large`.
pub(super) fn large() -> Vec<u8> {
    b"0123456789abcdef".repeat(131_072)
}
