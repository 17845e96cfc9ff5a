//! The registry of methods, priors and rewards that settings can name.
//!
//! The built-in methods are listed here and nowhere else. Other programs add to the same tables.

use crate::catalog::Catalog;
use crate::dataset::Splits;
use crate::method::{Listed, Method};
use crate::run::{OfflineData, OpenData, RunContext};
use anyhow::{Context, Result};
use rlhf_data::StreamingDataset;
use rlhf_dpo::{DpoSpec, KtoSpec};
use rlhf_policy::Networks;
use rlhf_ppo::PpoSpec;
use rlhf_prior::{PriorKind, PriorKinds};
use rlhf_reinforce::{GrpoSpec, ReinforceSpec, RlooSpec, VarGradSpec};
use rlhf_reward::{BradleyTerrySpec, RewardKind};
use rlhf_sft::SftSpec;
use rlhf_train::{Ended, MethodSpec, OfflineSpec, OnlineSpec};
use std::collections::HashMap;
use std::sync::Arc;

/// Runs a method of a known type.
type Runner = Arc<
    dyn Fn(&Method, Splits<StreamingDataset>, RunContext<'_>, &mut Networks) -> Result<Ended>
        + Send
        + Sync,
>;

/// The registered methods, priors and rewards.
#[derive(Clone)]
pub struct Registry {
    catalog: Catalog,
    runners: HashMap<&'static str, Runner>,
}

impl Default for Registry {
    /// All built-in methods and priors.
    fn default() -> Self {
        let mut empty = Self::empty();
        rlhf_prior::add_all(&mut empty.catalog.priors);
        empty
            .online::<PpoSpec>()
            .online::<RlooSpec>()
            .online::<ReinforceSpec>()
            .online::<GrpoSpec>()
            .online::<VarGradSpec>()
            .offline::<DpoSpec>()
            .offline::<KtoSpec>()
            .offline::<SftSpec>()
            .offline::<BradleyTerrySpec>()
    }
}

impl Registry {
    fn empty() -> Self {
        Self {
            catalog: Catalog::default(),
            runners: HashMap::new(),
        }
    }

    /// Adds a method that learns from the policy's own samples.
    #[must_use]
    pub fn online<S: OnlineSpec>(mut self) -> Self {
        self.catalog.methods.add(Listed::<S>::online());
        let runner: Runner = Arc::new(|method, splits, context, networks| {
            context.online(splits, networks, S::method(settings::<S>(method)?)?)
        });
        self.runners.insert(S::NAME, runner);
        self
    }

    /// Adds a method that learns from a data set.
    #[must_use]
    pub fn offline<S: OfflineSpec>(mut self) -> Self
    where
        OfflineData<S::Data, S::HeldOut>: OpenData,
    {
        self.catalog.methods.add(Listed::<S>::offline());
        let runner: Runner = Arc::new(|method, splits, context, networks| {
            context.offline::<S>(splits, networks, settings::<S>(method)?)
        });
        self.runners.insert(S::NAME, runner);
        self
    }

    /// Adds a kind of prior.
    #[must_use]
    pub fn prior<K: PriorKind>(mut self) -> Self {
        self.catalog.priors.add::<K>();
        self
    }

    /// Adds a kind of reward.
    #[must_use]
    pub fn reward<K: RewardKind>(mut self) -> Self {
        self.catalog.rewards.add::<K>();
        self
    }

    /// Everything that settings can name.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Runs the method of the settings.
    pub(crate) fn run(
        &self,
        splits: Splits<StreamingDataset>,
        context: RunContext<'_>,
        networks: &mut Networks,
    ) -> Result<Ended> {
        let method = context.config().method.clone();
        let name = method.facts().name;
        let runner = self.runners.get(name);
        let runner = runner.with_context(|| format!("the method {name} is not registered"))?;
        runner(&method, splits, context, networks)
    }
}

fn settings<S: MethodSpec>(method: &Method) -> Result<&S::Settings> {
    let mismatch = || format!("{} is registered twice, with different settings", S::NAME);
    method.settings::<S>().with_context(mismatch)
}
