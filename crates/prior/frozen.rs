//! A frozen network as the prior.

use rlhf_objective::{
    Decoder, Error, LogDist, Network, OutputSpec, Outputs, PerToken, Prior, Result, RowCallback,
    Sequences,
};
use std::ops::Range;

/// A frozen network as the prior. It runs one forward pass per batch, whose outputs it keeps for the
/// log-probs and all ranges of log-distributions.
pub struct Frozen {
    network: Box<dyn Network>,
    /// The id of the batch of the last forward pass, and its log-probs.
    last: Option<(u64, PerToken)>,
}

impl Frozen {
    /// Wraps a network with frozen parameters, at the policy's temperature.
    ///
    /// # Errors
    /// If a parameter is trainable.
    pub fn new(network: Box<dyn Network>) -> Result<Self> {
        if network.is_trained() {
            return Err(Error::Unsupported(
                "the parameters of this prior are trainable: load it frozen".into(),
            ));
        }
        Ok(Self {
            network,
            last: None,
        })
    }

    /// SHA-256 of each set of parameters; it never changes.
    #[must_use]
    pub fn checksums(&self) -> Vec<String> {
        self.network.checksums()
    }

    /// The log-probs of a batch, from the last forward pass if it was on the same batch.
    fn forward_once(&mut self, sequences: &Sequences) -> Result<PerToken> {
        if let Some((id, log_probs)) = &self.last
            && *id == sequences.id()
        {
            return Ok(log_probs.clone());
        }
        // Cleared first, so that a forward pass that fails leaves no stale outputs.
        self.last = None;
        let outputs = self.network.forward(sequences, OutputSpec::SCORE)?;
        self.keep(sequences, &outputs)
    }

    /// Keeps the log-probs of a forward pass, detached.
    fn keep(&mut self, sequences: &Sequences, outputs: &Outputs) -> Result<PerToken> {
        let log_probs = &outputs.log_probs;
        let detached = PerToken::new(log_probs.values().detach(), log_probs.offsets())?;
        self.last = Some((sequences.id(), detached.clone()));
        Ok(detached)
    }
}

impl Prior for Frozen {
    fn log_probs(&mut self, sequences: &Sequences) -> Result<PerToken> {
        self.forward_once(sequences)
    }

    fn log_dist(&mut self, sequences: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>> {
        self.forward_once(sequences)?;
        self.network.log_dist(rows)
    }

    fn log_probs_with_rows(
        &mut self,
        sequences: &Sequences,
        each: &mut RowCallback<'_>,
    ) -> Result<PerToken> {
        self.last = None;
        // The network may not keep its rows, so this always runs a forward pass.
        let outputs = self.network.forward_with_rows(sequences, each)?;
        self.keep(sequences, &outputs)
    }

    fn is_normalized(&self) -> bool {
        true
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        // A decoder may overwrite the buffers of the last forward pass.
        self.last = None;
        self.network.decoder()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::{Beta, KlPenalty, OutputGrads, ParameterSet};
    use rlhf_policy::testing::{Bigram, sequences};
    use rlhf_tensor::Storage;
    use std::cell::Cell;
    use std::rc::Rc;

    /// Counts forward passes.
    struct CountingNetwork(Bigram, Rc<Cell<usize>>);

    impl Network for CountingNetwork {
        fn vocab(&self) -> usize {
            self.0.vocab()
        }
        fn forward(&mut self, sequences: &Sequences, spec: OutputSpec) -> Result<Outputs> {
            self.1.set(self.1.get() + 1);
            self.0.forward(sequences, spec)
        }
        fn log_dist(&mut self, rows: Range<usize>) -> Result<LogDist<'_>> {
            self.0.log_dist(rows)
        }
        fn backward(&mut self, gradients: &OutputGrads) -> Result<()> {
            self.0.backward(gradients)
        }
        fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
            self.0.decoder()
        }
        fn parameter_sets(&self) -> Vec<&dyn ParameterSet> {
            self.0.parameter_sets()
        }
        fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet> {
            self.0.parameter_sets_mut()
        }
    }

    #[test]
    fn one_forward_pass_per_batch_and_no_parameter_changes() {
        let passes = Rc::new(Cell::new(0));
        let network = CountingNetwork(Bigram::random(5, Storage::Frozen, 1), passes.clone());
        let mut prior = Frozen::new(Box::new(network)).unwrap();
        let before = prior.checksums();
        let s = sequences();
        let log_probs = prior.log_probs(&s).unwrap();
        let log_dist = prior.log_dist(&s, 2..5).unwrap();
        assert_eq!((log_dist.rows(), log_dist.vocab()), (3, 5));
        assert_eq!(
            prior.log_probs(&s.clone()).unwrap().to_vec().unwrap(),
            log_probs.to_vec().unwrap()
        );
        assert_eq!(passes.get(), 1);
        let other = s.select(&[2]);
        assert_eq!(
            prior.log_probs(&other).unwrap().to_vec().unwrap(),
            log_probs.to_vec().unwrap()[4..]
        );
        prior.log_probs(&s).unwrap();
        assert_eq!(passes.get(), 3);
        prior.decoder().unwrap();
        prior.log_dist(&s, 0..1).unwrap();
        assert_eq!(passes.get(), 4);
        assert_eq!(prior.checksums(), before);
    }

    /// Complete micro-batches of an interrupted call are not computed again; an incomplete one is.
    #[test]
    fn prior_log_probs_continue_after_an_interruption() {
        let s = sequences();
        let tokens = 1;
        let batches = s.micro_batches(tokens, 1);
        assert!(batches.len() > 1);
        let penalty = || {
            let passes = Rc::new(Cell::new(0));
            let network = CountingNetwork(Bigram::random(5, Storage::Frozen, 1), passes.clone());
            let prior = Frozen::new(Box::new(network)).unwrap();
            (KlPenalty::new(Box::new(prior), Beta::Fixed(1.0)), passes)
        };
        let all = penalty().0.prior_log_probs(&s, tokens).unwrap();
        let all = all.to_vec().unwrap();
        for known in 0..=s.len() {
            let (mut penalty, passes) = penalty();
            let whole = batches.iter().filter(|batch| batch.end <= known).count();
            let mut computed = Vec::new();
            let log_probs = penalty
                .continue_prior_log_probs::<Error>(
                    &s,
                    tokens,
                    all[..known].to_vec(),
                    &mut |at, log_probs| {
                        assert_eq!(log_probs, &all[at.clone()]);
                        computed.push(at);
                        Ok(())
                    },
                )
                .unwrap();
            assert_eq!(log_probs.to_vec().unwrap(), all);
            assert_eq!(
                (computed, passes.get()),
                (batches[whole..].to_vec(), batches.len() - whole)
            );
        }
        let stop = &mut |_, _: &[f32]| Err(Error::Empty("interrupted".into()));
        let stopped = penalty()
            .0
            .continue_prior_log_probs(&s, tokens, vec![], stop);
        assert!(stopped.unwrap_err().to_string().contains("interrupted"));
    }

    #[test]
    fn log_probs_carry_no_gradient() {
        let mut prior = Frozen::new(Box::new(Bigram::random(5, Storage::Frozen, 1))).unwrap();
        let log_probs = prior.log_probs(&sequences()).unwrap();
        let gradients = log_probs.values().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(log_probs.values()).is_none());
    }

    #[test]
    fn a_trainable_network_is_an_error() {
        let network = Box::new(Bigram::random(5, Storage::Trainable, 1));
        assert!(Frozen::new(network).is_err());
    }
}
