//! Numbers in memory: f32, or bf16 in half the space.

use super::precision::{bf16_bits, widen};

/// Numbers to read.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// In f32.
    F32(&'a [f32]),
    /// In bf16: the upper half of the f32 of the same value.
    Bf16(&'a [u16]),
}

impl<'a> Numbers<'a> {
    /// The number of numbers.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::F32(all) => all.len(),
            Self::Bf16(all) => all.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Copies numbers from index `start` on to `to`, in f32, which represents both types exactly.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn copy(self, start: usize, to: &mut [f32]) {
        match self {
            Self::F32(all) => to.copy_from_slice(&all[start..start + to.len()]),
            Self::Bf16(all) => {
                let words = &all[start..start + to.len()];
                to.iter_mut().zip(words).for_each(|(x, w)| *x = widen(*w));
            }
        }
    }

    /// `to` ← `scale`·the numbers from index `start` on.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn copy_scaled(self, start: usize, scale: f32, to: &mut [f32]) {
        self.copy(start, to);
        if scale != 1.0 {
            to.iter_mut().for_each(|x| *x *= scale);
        }
    }

    /// Adds `scale`·the numbers from index `start` on to `to`.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn add_scaled(self, start: usize, scale: f32, to: &mut [f32]) {
        let range = start..start + to.len();
        match self {
            Self::F32(all) => {
                let all = to.iter_mut().zip(&all[range]);
                all.for_each(|(sum, x)| *sum += scale * x);
            }
            Self::Bf16(all) => {
                let all = to.iter_mut().zip(&all[range]);
                all.for_each(|(sum, word)| *sum += scale * widen(*word));
            }
        }
    }

    /// The number at an index, in f32.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    #[inline]
    pub fn at(self, index: usize) -> f32 {
        match self {
            Self::F32(all) => all[index],
            Self::Bf16(all) => widen(all[index]),
        }
    }

    /// The numbers from index `start` on.
    pub(crate) fn from(self, start: usize) -> Self {
        match self {
            Self::F32(all) => Self::F32(&all[start..]),
            Self::Bf16(all) => Self::Bf16(&all[start..]),
        }
    }
}

/// Numbers to write.
#[derive(Debug)]
pub enum NumbersMut<'a> {
    /// In f32.
    F32(&'a mut [f32]),
    /// In bf16.
    Bf16(&'a mut [u16]),
}

impl NumbersMut<'_> {
    /// The same numbers, for reading.
    #[must_use]
    pub fn read(&self) -> Numbers<'_> {
        match self {
            Self::F32(all) => Numbers::F32(all),
            Self::Bf16(all) => Numbers::Bf16(all),
        }
    }

    /// Writes `values` from index `start` on, each rounded to the nearest number of the type, ties to even.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&mut self, start: usize, values: &[f32]) {
        match self {
            Self::F32(all) => all[start..start + values.len()].copy_from_slice(values),
            Self::Bf16(all) => {
                let words = &mut all[start..start + values.len()];
                let words = words.iter_mut().zip(values);
                words.for_each(|(word, x)| *word = bf16_bits(*x) as u16);
            }
        }
    }
}

/// The values in bf16.
#[cfg(test)]
pub(crate) fn words(values: &[f32]) -> Vec<u16> {
    let mut words = vec![0; values.len()];
    NumbersMut::Bf16(&mut words).write(0, values);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::precision::bf16_round;

    #[test]
    fn either_holds_what_was_written() {
        let values: Vec<f32> = (0..100).map(|i| (i as f32 * 0.77).sin()).collect();
        let rounded: Vec<f32> = values.iter().map(|x| bf16_round(*x)).collect();
        assert_ne!(values, rounded);
        let (mut floats, mut words) = (vec![0.0; 103], vec![0; 103]);
        let all = [NumbersMut::F32(&mut floats), NumbersMut::Bf16(&mut words)];
        for (mut numbers, want) in all.into_iter().zip([values.clone(), rounded]) {
            numbers.write(3, &values);
            let numbers = numbers.read();
            assert_eq!((numbers.len(), numbers.is_empty()), (103, false));
            let mut got = vec![9.0; 101];
            numbers.copy(2, &mut got);
            assert_eq!(got[0], 0.0);
            assert_eq!(got[1..], want);
            assert_eq!(numbers.from(4).at(5), want[6]);
        }
    }
}
