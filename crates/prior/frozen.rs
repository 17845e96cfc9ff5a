//! A network that does not move.

use rlhf_objective::{
    Decoder, Error, LogDist, Network, OutputSpec, Outputs, PerToken, Prior, Result, RowCallback,
    Sequences,
};
use std::ops::Range;

/// A frozen network as the prior. Asked for the log-probs and for ranges of the log-distributions of
/// one batch, it reads the batch once.
pub struct Frozen {
    network: Box<dyn Network>,
    /// The batch read last, by its id, and its log-probs.
    last: Option<(u64, PerToken)>,
}

impl Frozen {
    /// Takes a network whose parameters are frozen, at the policy's temperature.
    ///
    /// # Errors
    /// If they are trainable: a prior has nothing to train.
    pub fn new(network: Box<dyn Network>) -> Result<Self> {
        if network.is_trained() {
            return Err(Error::Unsupported(
                "a prior must be loaded frozen: its parameters are trainable".into(),
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

    /// The log-probs of a batch, which is read if it was not the last.
    fn read_once(&mut self, sequences: &Sequences) -> Result<PerToken> {
        if let Some((id, log_probs)) = &self.last
            && *id == sequences.id()
        {
            return Ok(log_probs.clone());
        }
        // Forgotten first: a read that fails leaves nothing behind.
        self.last = None;
        let outputs = self.network.forward(sequences, OutputSpec::SCORE)?;
        self.keep(sequences, &outputs)
    }

    /// What was read last, without gradient.
    fn keep(&mut self, sequences: &Sequences, outputs: &Outputs) -> Result<PerToken> {
        let read = &outputs.log_probs;
        let detached = PerToken::new(read.values().detach(), read.offsets())?;
        self.last = Some((sequences.id(), detached.clone()));
        Ok(detached)
    }
}

impl Prior for Frozen {
    fn log_probs(&mut self, sequences: &Sequences) -> Result<PerToken> {
        self.read_once(sequences)
    }

    fn log_dist(&mut self, sequences: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>> {
        self.read_once(sequences)?;
        self.network.log_dist(rows)
    }

    fn log_probs_with_rows(
        &mut self,
        sequences: &Sequences,
        each: &mut RowCallback<'_>,
    ) -> Result<PerToken> {
        self.last = None;
        // What it forgets as it goes is shown while it is there, so this reads whatever was read last.
        let outputs = self.network.forward_with_rows(sequences, each)?;
        self.keep(sequences, &outputs)
    }

    fn is_normalized(&self) -> bool {
        true
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        // A decoder may use the buffers that the last read left.
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

    /// Counts how often a network is read.
    struct Counted(Bigram, Rc<Cell<usize>>);

    impl Network for Counted {
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
    fn a_batch_is_read_once_and_nothing_moves() {
        let reads = Rc::new(Cell::new(0));
        let network = Counted(Bigram::random(5, Storage::Frozen, 1), reads.clone());
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
        assert_eq!(reads.get(), 1);
        let other = s.select(&[2]);
        assert_eq!(
            prior.log_probs(&other).unwrap().to_vec().unwrap(),
            log_probs.to_vec().unwrap()[4..]
        );
        prior.log_probs(&s).unwrap();
        assert_eq!(reads.get(), 3);
        prior.decoder().unwrap();
        prior.log_dist(&s, 0..1).unwrap();
        assert_eq!(reads.get(), 4);
        assert_eq!(prior.checksums(), before);
    }

    /// What was read before a pass was cut is not read again, and half of a batch is.
    #[test]
    fn a_pass_goes_on_where_it_was_cut() {
        let s = sequences();
        let tokens = 1;
        let batches = s.micro_batches(tokens, 1);
        assert!(batches.len() > 1);
        let penalty = || {
            let reads = Rc::new(Cell::new(0));
            let network = Counted(Bigram::random(5, Storage::Frozen, 1), reads.clone());
            let prior = Frozen::new(Box::new(network)).unwrap();
            (KlPenalty::new(Box::new(prior), Beta::Fixed(1.0)), reads)
        };
        let all = penalty().0.prior_log_probs(&s, tokens).unwrap();
        let all = all.to_vec().unwrap();
        for known in 0..=s.len() {
            let (mut penalty, reads) = penalty();
            let whole = batches.iter().filter(|batch| batch.end <= known).count();
            let mut shown = Vec::new();
            let read = penalty
                .continue_prior_log_probs::<Error>(
                    &s,
                    tokens,
                    all[..known].to_vec(),
                    &mut |at, read| {
                        assert_eq!(read, &all[at.clone()]);
                        shown.push(at);
                        Ok(())
                    },
                )
                .unwrap();
            assert_eq!(read.to_vec().unwrap(), all);
            assert_eq!(
                (shown, reads.get()),
                (batches[whole..].to_vec(), batches.len() - whole)
            );
        }
        let stop = &mut |_, _: &[f32]| Err(Error::Empty("enough".into()));
        let stopped = penalty()
            .0
            .continue_prior_log_probs(&s, tokens, vec![], stop);
        assert!(stopped.unwrap_err().to_string().contains("enough"));
    }

    #[test]
    fn answers_carry_no_gradient() {
        let mut prior = Frozen::new(Box::new(Bigram::random(5, Storage::Frozen, 1))).unwrap();
        let log_probs = prior.log_probs(&sequences()).unwrap();
        let gradients = log_probs.values().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(log_probs.values()).is_none());
    }

    #[test]
    fn what_can_be_trained_is_refused() {
        let network = Box::new(Bigram::random(5, Storage::Trainable, 1));
        assert!(Frozen::new(network).is_err());
    }
}
