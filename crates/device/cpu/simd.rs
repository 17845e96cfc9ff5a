//! Compiling kernels for each instruction set, and functions that they share.
//!
//! A kernel body is generic over `FUSED`: whether multiplication and addition are one instruction.
//! [`dispatch!`] compiles it for AVX-512, for AVX2 with FMA and for the build's target, and chooses at run time.
//! The body and everything that it calls must be `#[inline(always)]` for that.

/// Floats that kernels process at a time: one AVX-512 register, or two of AVX2.
pub(crate) const LANES: usize = 16;

use std::sync::atomic::{AtomicUsize, Ordering};

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 with products of bf16: the F, BW, VL and BF16 parts.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// AVX-512F.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The build's target.
    Portable,
}

/// All of them, best first.
#[cfg(target_arch = "x86_64")]
const KNOWN: [Isa; 4] = [Isa::Avx512Bf16, Isa::Avx512, Isa::Avx2, Isa::Portable];
#[cfg(not(target_arch = "x86_64"))]
const KNOWN: [Isa; 1] = [Isa::Portable];

/// The best instruction set that may be used, as an index into `KNOWN`. The processor may have less.
static CEILING: AtomicUsize = AtomicUsize::new(0);

/// Limits this process to `isa` from now on, to test and measure other processors' code. Products of the `gemm`
/// crate are not limited: it detects the processor itself.
pub fn use_at_most(isa: Isa) {
    let index = KNOWN.iter().position(|known| *known == isa);
    CEILING.store(index.unwrap_or(0), Ordering::Relaxed);
}

/// The instruction sets of this processor, best first.
#[must_use]
pub fn instruction_sets() -> Vec<Isa> {
    let best = KNOWN.iter().position(|known| *known == detected());
    KNOWN[best.unwrap_or(0)..].to_vec()
}

/// The best instruction set to use.
#[inline]
pub(crate) fn isa() -> Isa {
    match CEILING.load(Ordering::Relaxed) {
        0 => detected(),
        ceiling => {
            let detected = KNOWN.iter().position(|known| *known == detected());
            KNOWN[ceiling.max(detected.unwrap_or(0))]
        }
    }
}

/// The best instruction set of this processor. The standard library caches the detection.
#[inline]
fn detected() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let has_fma = is_x86_feature_detected!("fma");
        if is_x86_feature_detected!("avx512f") && has_fma {
            let bf16 = is_x86_feature_detected!("avx512bf16")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl");
            return if bf16 { Isa::Avx512Bf16 } else { Isa::Avx512 };
        }
        if is_x86_feature_detected!("avx2") && has_fma {
            return Isa::Avx2;
        }
    }
    Isa::Portable
}

/// Defines `fn name(isa, arguments…)` that runs the generic body `body::<FUSED>(arguments…)`
/// compiled for `isa`.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident = $body:ident ($($arg:ident: $ty:ty),* $(,)?)
        $(-> $ret:ty)?) => {
        $(#[$meta])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::cpu::simd::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
            match isa {
                // SAFETY: `isa()` detected these features, and tests pass only detected instruction sets.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::simd::Isa::Avx512Bf16 | $crate::cpu::simd::Isa::Avx512 => unsafe {
                    avx512($($arg),*)
                },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::simd::Isa::Avx2 => unsafe { avx2($($arg),*) },
                $crate::cpu::simd::Isa::Portable => $body::<false>($($arg),*),
            }
        }
    };
}
pub(crate) use dispatch;

/// a·b + c, in one rounding where `FUSED`.
#[inline(always)]
pub(crate) fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// eˣ to about two units in the last place (Cephes' expf: reduction by ln 2 in two parts, a
/// polynomial of degree 7). Below −87.3 it is 0, above 88.3 ∞; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    // Adding 1.5·2²³ rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = fma::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FUSED>(n, -0.693_359_4, x);
    let r = fma::<FUSED>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    p = fma::<FUSED>(p, r, 1.398_2e-3);
    p = fma::<FUSED>(p, r, 8.333_452e-3);
    p = fma::<FUSED>(p, r, 4.166_579_6e-2);
    p = fma::<FUSED>(p, r, 1.666_666_5e-1);
    p = fma::<FUSED>(p, r, 0.5);
    let y = fma::<FUSED>(p, r * r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    let y = y * power;
    let y = if x < -87.3 { 0.0 } else { y };
    if x > 88.3 { f32::INFINITY } else { y }
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(crate) fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FUSED>(-x))
}

/// The sum of a register, in a fixed order.
#[inline(always)]
pub(crate) fn sum_lanes(mut x: [f32; LANES]) -> f32 {
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            x[i] += x[i + width];
        }
    }
    x[0]
}

/// Σ aᵢbᵢ, in a fixed order.
#[inline(always)]
pub(crate) fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] = fma::<FUSED>(a[i], b[i], lanes[i]);
        }
    }
    let rest = a_rest
        .iter()
        .zip(b_rest)
        .fold(0.0, |sum, (a, b)| sum + a * b);
    sum_lanes(lanes) + rest
}

/// The largest value, −∞ if there is none. NaN is ignored.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = if chunk[i] > lanes[i] {
                chunk[i]
            } else {
                lanes[i]
            };
        }
    }
    let larger = |a: f32, &b: &f32| if b > a { b } else { a };
    rest.iter().chain(&lanes).fold(f32::NEG_INFINITY, larger)
}

/// Prefetches the cache line `ahead` entries after the start of `x`, which need not exist.
#[inline(always)]
#[allow(unsafe_code, unused_variables)]
pub(crate) fn prefetch<T>(x: &[T], ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(x.as_ptr().wrapping_add(ahead).cast()) };
    }
}

#[cfg(test)]
pub(crate) use instruction_sets as all;

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(always)]
    fn exp_body<const FUSED: bool>(x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x = exp::<FUSED>(*x));
    }
    dispatch!(fn exp_all = exp_body(x: &mut [f32]));

    #[test]
    fn exp_is_accurate_everywhere() {
        for isa in all() {
            let x: Vec<f32> = (-8729..8830).map(|i| i as f32 * 0.01).collect();
            let mut y = x.clone();
            exp_all(isa, &mut y);
            for (x, y) in x.iter().zip(y) {
                let want = f64::from(*x).exp();
                assert!((f64::from(y) / want - 1.0).abs() < 4e-7, "exp({x}) = {y}");
            }
        }
    }

    #[test]
    fn exp_at_its_ends() {
        for isa in all() {
            let mut y = [
                f32::NEG_INFINITY,
                -200.0,
                0.0,
                100.0,
                f32::INFINITY,
                f32::NAN,
            ];
            exp_all(isa, &mut y);
            assert_eq!(y[..5], [0.0, 0.0, 1.0, f32::INFINITY, f32::INFINITY]);
            assert!(y[5].is_nan());
        }
    }

    #[test]
    fn sums_and_maxima_of_odd_lengths() {
        for n in [0, 1, 15, 16, 17, 50] {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
            let want: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            assert!((f64::from(dot::<false>(&x, &x)) - want).abs() < 1e-5);
            let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max(&x), largest);
        }
    }
}
