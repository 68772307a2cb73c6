//! Inputs that are large, and the same in every run.

/// Twice what a host hands over at once, many times over.
pub(super) const MANY_BYTES: usize = 2_000_000;

/// Bytes of every value, without a pattern that a shift or a swap of blocks would keep.
pub(super) fn bytes() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        // Knuth's generator: nobody has to guess these, they only have to differ.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..MANY_BYTES).map(|_| next()).collect()
}

/// 1.4 MB of words, and how many of how many kinds they are.
pub(super) fn words() -> (Vec<u8>, String) {
    const ALL: usize = 145_000;
    const DIFFERENT: usize = 20_000;
    // A step that has no factor in common with the number of kinds visits each of them.
    let words: Vec<String> = (0..ALL)
        .map(|i| format!("word{:05}", i * 7_919 % DIFFERENT))
        .collect();
    let text = words.join(" ").into_bytes();
    (text, format!("{ALL} words, {DIFFERENT} different\n"))
}

/// What the servers answer under `/large`.
pub(super) fn large() -> Vec<u8> {
    b"0123456789abcdef".repeat(131_072)
}
