//! The random number generator: counter-based, and keyed by the purpose of the numbers.

use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The purpose of random numbers. Different streams of one seed are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Initial weights.
    Init = 1,
    /// Sampled tokens: `Rng::new(seed, Stream::Sample, step, sequence)`.
    Sample = 2,
    /// The order of prompts, pairs and documents.
    Shuffle = 3,
    /// The order of mini-batches within an iteration.
    Minibatch = 4,
    /// Bootstrap resamples.
    Bootstrap = 5,
    /// Generated data.
    Data = 6,
}

/// A seeded generator (ChaCha8). Its numbers depend on its four keys alone: not on the thread, the
/// batch or the order in which other generators were used.
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The generator of `stream` under `seed`, for item (`major`, `minor`): for example (step,
    /// sequence) or (epoch, 0).
    #[must_use]
    pub fn new(seed: u64, stream: Stream, major: u64, minor: u64) -> Self {
        let mut key = [0; 32];
        for (bytes, word) in key
            .chunks_exact_mut(8)
            .zip([seed, stream as u64, major, minor])
        {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in [0, 1), 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n, without modulo bias. `n` must be positive.
    pub fn below(&mut self, n: usize) -> usize {
        debug_assert!(n > 0);
        // Lemire's multiply-shift, with rejection of the short interval.
        let n = n as u64;
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as usize;
            }
        }
    }

    /// A standard normal number (Box–Muller, the cosine branch only, so that each call takes
    /// exactly two words).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A uniformly random permutation in place (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_changes_the_numbers() {
        let draw = |seed, stream, a, b| Rng::new(seed, stream, a, b).0.next_u64();
        let first = draw(1, Stream::Sample, 2, 3);
        assert_eq!(first, draw(1, Stream::Sample, 2, 3));
        for other in [
            draw(2, Stream::Sample, 2, 3),
            draw(1, Stream::Shuffle, 2, 3),
            draw(1, Stream::Sample, 3, 3),
            draw(1, Stream::Sample, 2, 4),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn means_and_variances_are_within_five_standard_errors() {
        let mut rng = Rng::new(5, Stream::Data, 0, 0);
        let n = 200_000;
        let (mut sum, mut square, mut uniform) = (0.0, 0.0, 0.0);
        let mut counts = [0usize; 7];
        for _ in 0..n {
            let x = rng.normal();
            sum += x;
            square += x * x;
            uniform += rng.uniform();
            counts[rng.below(7)] += 1;
        }
        let n = f64::from(n);
        // Five standard errors each.
        assert!((sum / n).abs() < 5.0 / n.sqrt());
        assert!((square / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!((uniform / n - 0.5).abs() < 5.0 / (12.0 * n).sqrt());
        for count in counts {
            assert!((count as f64 / n - 1.0 / 7.0).abs() < 5.0 * (6.0 / 49.0 / n).sqrt());
        }
    }

    #[test]
    fn shuffle_is_a_permutation() {
        let mut items: Vec<usize> = (0..100).collect();
        Rng::new(1, Stream::Shuffle, 0, 0).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
