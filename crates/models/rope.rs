//! Rotary position embeddings (Su et al. 2021): the angles by which queries and keys are rotated.
//!
//! Pair i of a head's first `rotary` numbers is turned by position · ωᵢ, with ωᵢ = θ^(−2i/rotary) before
//! scaling. As in transformers, frequencies and angles are rounded to f32: models were trained with these.

use std::ops::Range;

/// The rotation of queries and keys in one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeSpec {
    /// θ, the base of the frequencies.
    pub theta: f64,
    /// How many numbers of each head are rotated, an even number; the rest stay as they are.
    pub rotary: usize,
    /// How frequencies are changed for contexts longer than those of pretraining.
    pub scaling: RopeScaling,
}

/// How frequencies are changed for longer contexts; the names are transformers' `rope_type`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// `default`: not at all. Also `dynamic`, up to the length of pretraining.
    None,
    /// `linear`: all are divided by the factor (position interpolation, Chen et al. 2023).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// `llama3`: long wavelengths are divided by the factor, short ones stay, and those between are
    /// interpolated (Llama 3.1).
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths beyond `original_context / low` are divided.
        low: f64,
        /// Wavelengths below `original_context / high` stay.
        high: f64,
        /// The context of pretraining, tokens.
        original_context: f64,
    },
    /// `yarn`: as in `Llama3`, with a ramp over dimensions, and the tables are multiplied by a factor
    /// (Peng et al. 2023).
    Yarn {
        /// The factor.
        factor: f64,
        /// The number of rotations at which frequencies begin to be divided.
        fast: f64,
        /// The number of rotations below which they are divided fully.
        slow: f64,
        /// The context of pretraining, tokens.
        original_context: f64,
        /// What cosines and sines are multiplied by.
        attention: f64,
        /// Whether the ends of the ramp are whole dimensions.
        ramp: Ramp,
    },
}

/// The ends of yarn's ramp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ramp {
    /// Rounded outwards to whole dimensions.
    Whole,
    /// As they are computed.
    Exact,
}

/// Cosines and sines of a range of positions, [positions, rotary / 2] each.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTables {
    /// The cosines.
    pub cos: Vec<f32>,
    /// The sines.
    pub sin: Vec<f32>,
}

impl RopeSpec {
    /// The angle of each pair at position 1, radians: [rotary / 2].
    #[must_use]
    pub fn frequencies(&self) -> Vec<f32> {
        let pairs = self.rotary / 2;
        let power = |i: usize| {
            let exponent = (2 * i) as f32 / self.rotary as f32;
            self.theta.powf(f64::from(exponent)) as f32
        };
        let scaled = |i: usize| {
            let power = power(i);
            self.scaling.apply(1.0 / power, power, i, self)
        };
        (0..pairs).map(scaled).collect()
    }

    /// The tables of some positions.
    #[must_use]
    pub fn tables(&self, positions: Range<usize>) -> RopeTables {
        let (frequencies, factor) = (self.frequencies(), self.scaling.attention_factor());
        let angles = positions
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * f))
            .map(f64::from);
        let (cos, sin) = angles
            .map(|angle| {
                let (sin, cos) = angle.sin_cos();
                ((cos * factor) as f32, (sin * factor) as f32)
            })
            .unzip();
        RopeTables { cos, sin }
    }
}

impl RopeScaling {
    /// The frequency of pair `i`, from that without scaling and its inverse.
    fn apply(&self, frequency: f32, power: f32, i: usize, rope: &RopeSpec) -> f32 {
        match *self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor as f32,
            Self::Llama3 {
                factor,
                low,
                high,
                original_context,
            } => {
                let frequency = f64::from(frequency);
                let wavelength = 2.0 * std::f64::consts::PI / frequency;
                let scaled = if wavelength > original_context / low {
                    frequency / factor
                } else if wavelength < original_context / high {
                    frequency
                } else {
                    let share = (original_context / wavelength - low) / (high - low);
                    (1.0 - share) * frequency / factor + share * frequency
                };
                scaled as f32
            }
            Self::Yarn {
                factor,
                fast,
                slow,
                original_context,
                ramp,
                ..
            } => {
                let dimension = |rotations: f64| {
                    let turns = original_context / (rotations * 2.0 * std::f64::consts::PI);
                    rope.rotary as f64 * turns.ln() / (2.0 * rope.theta.ln())
                };
                let (mut from, mut to) = (dimension(fast), dimension(slow));
                if ramp == Ramp::Whole {
                    (from, to) = (from.floor(), to.ceil());
                }
                let (from, mut to) = (from.max(0.0), to.min(rope.rotary as f64 - 1.0));
                if from == to {
                    to += 0.001;
                }
                let divided = ((i as f64 - from) / (to - from)).clamp(0.0, 1.0);
                let interpolated = 1.0 / (factor * f64::from(power));
                (interpolated * divided + f64::from(frequency) * (1.0 - divided)) as f32
            }
        }
    }

    /// What cosines and sines are multiplied by.
    #[must_use]
    pub fn attention_factor(&self) -> f64 {
        match self {
            Self::Yarn { attention, .. } => *attention,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(scaling: RopeScaling) -> RopeSpec {
        RopeSpec {
            theta: 10_000.0,
            rotary: 8,
            scaling,
        }
    }

    #[test]
    fn frequencies_fall_geometrically_and_linear_scaling_divides_them() {
        let plain = spec(RopeScaling::None).frequencies();
        for (i, frequency) in plain.iter().enumerate() {
            let expected = 10f64.powi(-(i as i32));
            assert!((f64::from(*frequency) / expected - 1.0).abs() < 1e-6);
        }
        let divided = spec(RopeScaling::Linear { factor: 4.0 }).frequencies();
        let back: Vec<f32> = divided.iter().map(|f| f * 4.0).collect();
        assert_eq!(back, plain);
    }

    #[test]
    fn tables_are_cosines_and_sines_of_each_position() {
        let tables = spec(RopeScaling::None).tables(0..3);
        assert_eq!(
            (&tables.cos[..4], &tables.sin[..4]),
            (&[1.0; 4][..], &[0.0; 4][..])
        );
        assert!((tables.cos[8] - 2f32.cos()).abs() < 1e-6);
        assert!((tables.sin[9] - 0.2f32.sin()).abs() < 1e-6);
    }

    /// Wavelengths 2π·{1, 10, 100, 1000} against a context of 400: the first is short of 400/4, the last
    /// two are beyond 400/1, and 62.8 lies below 100.
    #[test]
    fn llama3_divides_long_wavelengths_alone() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            original_context: 400.0,
        };
        let (plain, scaled) = (spec(RopeScaling::None), spec(scaling));
        let ratios: Vec<f32> = (plain.frequencies().iter().zip(scaled.frequencies()))
            .map(|(plain, scaled)| plain / scaled)
            .collect();
        assert_eq!(ratios, [1.0, 1.0, 8.0, 8.0]);
    }
}
