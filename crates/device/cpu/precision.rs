//! Rounding to bf16 and back.

/// The nearest bf16, ties to even, as the upper half of an f32.
#[inline(always)]
pub(crate) fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    // Rounding could turn a NaN into infinity.
    if x.is_nan() {
        (bits >> 16) | 0x40
    } else {
        rounded
    }
}

/// The nearest bf16.
#[inline(always)]
pub(crate) fn bf16_round(x: f32) -> f32 {
    f32::from_bits(bf16_bits(x) << 16)
}

/// The f32 of the same value as a bf16.
#[inline(always)]
pub(crate) fn widen(word: u16) -> f32 {
    f32::from_bits(u32::from(word) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_as_the_library_does() {
        let mut bits = 1u32;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f32::from_bits(bits);
            let want = half::bf16::from_f32(x).to_f32();
            let got = bf16_round(x);
            assert!(
                got == want || got.is_nan() && want.is_nan(),
                "{x} {got} {want}"
            );
        }
        assert_eq!(bf16_round(f32::INFINITY), f32::INFINITY);
        assert!(bf16_round(f32::from_bits(0x7f80_0001)).is_nan());
        assert_eq!((bf16_bits(1.0), widen(0xc000)), (0x3f80, -2.0));
    }
}
