//! Ragged tensors: one value per response token, and one value per sequence.

use crate::{Error, Result};
use rlhf_tensor::{Device, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// One f32 for each of the N response tokens of a batch: flat values, and the offset of each response.
#[derive(Debug, Clone)]
pub struct PerToken {
    values: Tensor,
    offsets: Arc<[usize]>,
}

/// One f32 for each of the B sequences of a batch.
#[derive(Debug, Clone)]
pub struct PerSeq(Tensor);

impl PerToken {
    /// From a tensor \[N\], which may carry gradients, and offsets [B + 1].
    ///
    /// # Errors
    /// If the number of values is not the number of tokens.
    pub fn new(values: Tensor, offsets: Arc<[usize]>) -> Result<Self> {
        let (expected, got) = (*offsets.last().unwrap_or(&0), values.dims1()?);
        if expected != got {
            return Err(Error::Size {
                what: "values per response token",
                expected,
                got,
            });
        }
        Ok(Self { values, offsets })
    }

    /// From numbers on the host.
    ///
    /// # Errors
    /// If the number of values is not the number of tokens.
    pub fn from_vec(values: Vec<f32>, offsets: Arc<[usize]>) -> Result<Self> {
        let length = values.len();
        Self::new(Tensor::from_vec(values, length, &Device::Cpu)?, offsets)
    }

    /// The values, \[N\].
    #[must_use]
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// The start of each response, and N: [B + 1].
    #[must_use]
    pub fn offsets(&self) -> Arc<[usize]> {
        self.offsets.clone()
    }

    /// B, the number of sequences.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The range of one response's tokens among the N.
    #[must_use]
    pub fn range(&self, sequence: usize) -> Range<usize> {
        self.offsets[sequence]..self.offsets[sequence + 1]
    }

    /// The values on the host, \[N\].
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        Ok(self.values.to_vec1()?)
    }

    /// The sum over each response's tokens, differentiable: \[B\].
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn sums(&self) -> Result<PerSeq> {
        let lengths = self.offsets.windows(2).map(|w| w[1] - w[0]);
        let sequence_index: Vec<u32> = lengths
            .enumerate()
            .flat_map(|(i, n)| std::iter::repeat_n(i as u32, n))
            .collect();
        let device = self.values.device();
        let sequence_index = Tensor::from_vec(sequence_index, self.values.dims1()?, device)?;
        let zeros = Tensor::zeros(self.sequences(), self.values.dtype(), device)?;
        Ok(PerSeq(zeros.index_add(&sequence_index, &self.values, 0)?))
    }

    /// The values of these responses, in this order, detached.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let all = self.to_vec()?;
        let mut offsets = vec![0];
        let mut values = Vec::new();
        for &index in indices {
            values.extend_from_slice(&all[self.range(index)]);
            offsets.push(values.len());
        }
        Self::from_vec(values, offsets.into())
    }

    /// The values of several batches, concatenated, detached.
    ///
    /// # Errors
    /// If the device fails.
    pub fn concat(parts: &[Self]) -> Result<Self> {
        let mut offsets = vec![0];
        let mut values: Vec<f32> = Vec::new();
        for part in parts {
            let start = values.len();
            offsets.extend(part.offsets[1..].iter().map(|end| start + end));
            values.extend(part.to_vec()?);
        }
        Self::from_vec(values, offsets.into())
    }
}

impl PerSeq {
    /// From a tensor \[B\].
    ///
    /// # Errors
    /// If it is not of rank 1.
    pub fn new(values: Tensor) -> Result<Self> {
        values.dims1()?;
        Ok(Self(values))
    }

    /// From numbers on the host.
    ///
    /// # Errors
    /// If the device fails.
    pub fn from_vec(values: Vec<f32>) -> Result<Self> {
        let length = values.len();
        Ok(Self(Tensor::from_vec(values, length, &Device::Cpu)?))
    }

    /// The values, \[B\].
    #[must_use]
    pub fn values(&self) -> &Tensor {
        &self.0
    }

    /// The values on the host, \[B\].
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        Ok(self.0.to_vec1()?)
    }

    /// The values of these sequences, in this order, detached.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let all = self.to_vec()?;
        Self::from_vec(indices.iter().map(|&index| all[index]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::Var;

    #[test]
    fn sums_are_per_response_and_differentiable() {
        let values = Var::from_vec(vec![1f32, 2., 4., 8.], 4, &Device::Cpu).unwrap();
        let ragged = PerToken::new(values.as_tensor().clone(), vec![0, 3, 4].into()).unwrap();
        let sums = ragged.sums().unwrap();
        assert_eq!(sums.to_vec().unwrap(), [7.0, 8.0]);
        let weights = Tensor::new(&[10f32, 3.], &Device::Cpu).unwrap();
        let loss = (sums.values() * weights).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let gradient = gradients.get(&values).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(gradient, [10.0, 10.0, 10.0, 3.0]);
    }

    #[test]
    fn select_and_concat_keep_responses_whole() {
        let a = PerToken::from_vec(vec![1., 2., 3.], vec![0, 1, 3].into()).unwrap();
        let b = a.select(&[1, 0, 1]).unwrap();
        assert_eq!(b.to_vec().unwrap(), [2., 3., 1., 2., 3.]);
        let c = PerToken::concat(&[a, b]).unwrap();
        assert_eq!(c.offsets().as_ref(), [0, 1, 3, 5, 6, 8]);
        assert!(PerToken::from_vec(vec![1.], vec![0, 2].into()).is_err());
    }
}
