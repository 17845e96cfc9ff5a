//! Rotary positions: their base and how they are scaled, on either side.

use super::{Keys, Writer, shortest};
use crate::config::Config;
use crate::transform::collect;
use crate::{NewTensor, Result, Value, WrittenType};
use serde_json::{Map, Value as Json, json};
use std::f64::consts::TAU;

/// The tensor in which llama.cpp keeps the scaling of Llama 3: a divisor of each frequency.
pub(super) const FACTORS: &str = "rope_freqs.weight";

/// What the rotary positions of a model are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    pub(super) base: Option<f64>,
    /// The part of a head that is rotated, where the settings say it here.
    pub(super) part: Option<f64>,
    pub(super) scaling: Scaling,
}

/// How frequencies are scaled (transformers, `modeling_rope_utils.py`).
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scaling {
    None,
    Linear {
        factor: f64,
    },
    Yarn {
        factor: f64,
        original: Option<u32>,
        /// Where the ramp starts and ends, in turns; transformers takes 32 and 1.
        betas: [Option<f64>; 2],
    },
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: u32,
    },
    /// Beyond the model's context only, where llama.cpp does not follow.
    Dynamic,
}

impl Rope {
    /// That of a folder: `rope_parameters`, or the older `rope_scaling` and the key of the base.
    pub(super) fn of_config(config: &Config, base: &str) -> Result<Self> {
        let new = config.get("rope_parameters");
        let parameters = match new.or(config.get("rope_scaling")) {
            None => Map::new(),
            Some(Json::Object(parameters)) => parameters.clone(),
            Some(_) => return Err(config.invalid("`rope_parameters` is not an object")),
        };
        let mut rope = Self::of_parameters(config, parameters)?;
        rope.base = rope.base.or(config.float(base)?);
        Ok(rope)
    }

    /// That of `rope_parameters` alone.
    pub(super) fn of_parameters(config: &Config, parameters: Map<String, Json>) -> Result<Self> {
        let inner = Config::new(&config.path, parameters);
        let kind = match inner.get("rope_type") {
            Some(_) => inner.text("rope_type")?,
            None => inner.text("type")?,
        };
        let needed = |key| match inner.float(key)? {
            Some(value) => Ok(value),
            None => Err(inner.invalid(format!("the rope scaling has no `{key}`"))),
        };
        let original = inner.uint("original_max_position_embeddings")?;
        let scaling = match kind.unwrap_or("default") {
            "default" => Scaling::None,
            "linear" => Scaling::Linear {
                factor: needed("factor")?,
            },
            "dynamic" => Scaling::Dynamic,
            "llama3" => Scaling::Llama3 {
                factor: needed("factor")?,
                low: needed("low_freq_factor")?,
                high: needed("high_freq_factor")?,
                original: inner.count("original_max_position_embeddings")?,
            },
            "yarn" => {
                inner.refuse_unless(&[
                    ("truncate", &[json!(true)]),
                    ("mscale", &[]),
                    ("mscale_all_dim", &[]),
                ])?;
                let factor = needed("factor")?;
                let usual = 0.1 * factor.ln() + 1.0;
                let attention = inner.float("attention_factor")?.unwrap_or(usual);
                if (attention - usual).abs() > 1e-6 {
                    return Err(inner.invalid(format!(
                        "`attention_factor` of the rope scaling is {attention}, where llama.cpp takes \
                         0.1 ln(factor) + 1 = {usual}: this model cannot be exported"
                    )));
                }
                let betas = [inner.float("beta_fast")?, inner.float("beta_slow")?];
                Scaling::Yarn {
                    factor,
                    original,
                    betas,
                }
            }
            other => {
                return Err(inner.invalid(format!(
                    "rope type {other:?} is not known; default, linear, llama3, yarn and dynamic are"
                )));
            }
        };
        Ok(Self {
            base: inner.float("rope_theta")?,
            part: inner.float("partial_rotary_factor")?,
            scaling,
        })
    }

    /// That of a file, besides [`FACTORS`].
    pub(super) fn of_file(keys: &Keys<'_>) -> Result<Self> {
        keys.refuse(&["rope.scale_linear"])?;
        let key = keys.key("rope.scaling.type");
        let factor = || {
            let factor = keys.float("rope.scaling.factor")?;
            keys.file
                .required(&keys.key("rope.scaling.factor"), Ok(factor))
        };
        let scaling = match keys.file.text(&key)?.unwrap_or("none") {
            "none" => Scaling::None,
            "linear" => Scaling::Linear { factor: factor()? },
            "yarn" => {
                keys.refuse(&[
                    "rope.scaling.attn_factor",
                    "rope.scaling.yarn_log_multiplier",
                    "rope.scaling.yarn_ext_factor",
                    "rope.scaling.yarn_attn_factor",
                ])?;
                Scaling::Yarn {
                    factor: factor()?,
                    original: keys.uint("rope.scaling.original_context_length")?,
                    betas: [
                        keys.float("rope.scaling.yarn_beta_fast")?,
                        keys.float("rope.scaling.yarn_beta_slow")?,
                    ],
                }
            }
            other => {
                return Err(keys.file.invalid(format!(
                    "`{key}` is {other:?}, which is not read: none, linear and yarn are"
                )));
            }
        };
        Ok(Self {
            base: keys.float("rope.freq_base")?,
            part: None,
            scaling,
        })
    }

    /// Refuses scaling, for architectures that have none.
    pub(super) fn plain(&self, error: impl Fn(String) -> crate::Error) -> Result<()> {
        match &self.scaling {
            Scaling::None => Ok(()),
            scaling => Err(error(format!(
                "the rope scaling {scaling:?} is not possible with this architecture"
            ))),
        }
    }

    /// `rope_scaling` of `config.json`.
    pub(super) fn json(&self) -> Json {
        match &self.scaling {
            Scaling::None | Scaling::Dynamic => Json::Null,
            Scaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }),
            Scaling::Yarn {
                factor,
                original,
                betas,
            } => {
                let mut scaling = json!({"rope_type": "yarn", "factor": factor});
                if let Some(original) = original {
                    scaling["original_max_position_embeddings"] = json!(original);
                }
                for (key, beta) in ["beta_fast", "beta_slow"].into_iter().zip(betas) {
                    if let Some(beta) = beta {
                        scaling[key] = json!(beta);
                    }
                }
                scaling
            }
        }
    }

    /// The keys of a file, and the tensor of Llama 3's scaling. `rotary` numbers of a head are rotated;
    /// `context` is the model's.
    pub(super) fn write(&self, writer: &mut Writer<'_>, rotary: u32, context: u32) {
        let base = self.base.unwrap_or(10000.0);
        writer.float("rope.freq_base", base);
        let mut scaled = |kind: &str, factor: f64| {
            writer.put("rope.scaling.type", Value::String(kind.into()));
            writer.float("rope.scaling.factor", factor);
        };
        match &self.scaling {
            Scaling::None => {}
            Scaling::Dynamic => writer.metadata.notes.push(format!(
                "dynamic rope scaling is left out: up to {context} tokens it changes nothing, and \
                 llama.cpp has none"
            )),
            Scaling::Linear { factor } => scaled("linear", *factor),
            Scaling::Yarn {
                factor,
                original,
                betas,
            } => {
                scaled("yarn", *factor);
                writer.count(
                    "rope.scaling.original_context_length",
                    original.unwrap_or(context),
                );
                for (key, beta) in ["beta_fast", "beta_slow"].into_iter().zip(betas) {
                    if let Some(beta) = beta {
                        writer.float(&format!("rope.scaling.yarn_{key}"), *beta);
                    }
                }
            }
            Scaling::Llama3 { original, .. } => {
                // llama.cpp does not need it, but a reader that wants the settings back does.
                writer.count("rope.scaling.original_context_length", *original);
                let factors = self.scaling.factors(base, rotary);
                let factors: Vec<f32> = factors.into_iter().map(|factor| factor as f32).collect();
                let tensor = NewTensor {
                    name: FACTORS.into(),
                    shape: vec![factors.len()],
                    kind: WrittenType::F32,
                };
                writer.metadata.tensors.push((tensor, factors));
            }
        }
    }

    /// Finds Llama 3's scaling out of a file's [`FACTORS`]. Factors determine the settings up to a common
    /// scale of the two frequency factors and the original length; 1, 4 and 8192 are what Meta chose, and
    /// where these do not fit, the lower one is taken to be 1.
    pub(super) fn find_factors(
        &mut self,
        keys: &Keys<'_>,
        rotary: u32,
        context: u32,
    ) -> Result<()> {
        let Some(tensor) = keys.file.tensors().get(FACTORS) else {
            return Ok(());
        };
        let found = collect(&|sink| keys.file.read(tensor, sink))?;
        let base = self.base.unwrap_or(10000.0);
        let most = found.iter().copied().fold(0.0, f32::max);
        let factor = shortest(most);
        if found.iter().all(|x| *x == 1.0) && self.scaling == Scaling::None {
            return Ok(());
        }
        let given = keys.uint("rope.scaling.original_context_length")?;
        let lengths = given.into_iter().chain([8192, context]);
        let usual = lengths.map(|original| (1.0, 4.0, original));
        let fits = |(low, high, original): (f64, f64, u32)| {
            let scaling = Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            };
            let factors = scaling.factors(base, rotary);
            let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() <= 1e-4 * b;
            let same = factors.len() == found.len() && found.iter().zip(&factors).all(near);
            same.then_some(scaling)
        };
        let fitted = solve(&found, factor, base, rotary);
        match usual
            .chain(fitted)
            .find_map(fits)
            .filter(|_| self.scaling == Scaling::None)
        {
            Some(scaling) => self.scaling = scaling,
            None => {
                return Err(keys.file.invalid(format!(
                    "tensor `{FACTORS}` holds scales of rope frequencies that are not Llama 3's, which \
                     are not read: this model cannot be imported"
                )));
            }
        }
        Ok(())
    }
}

/// The frequency of a rotated pair, in radians a token.
fn frequency(base: f64, rotary: u32, pair: usize) -> f64 {
    base.powf(-2.0 * pair as f64 / f64::from(rotary))
}

/// Settings out of the factors between 1 and the largest. With s = (1/g − 1/F) / (1 − 1/F) for a factor
/// g, and the wavelength λ of its frequency, s = (L/λ − low) / (high − low) is linear in 1/λ.
fn solve(found: &[f32], factor: f64, base: f64, rotary: u32) -> Option<(f64, f64, u32)> {
    let mut points = found.iter().enumerate().filter_map(|(pair, x)| {
        let x = f64::from(*x);
        let smooth = (1.0 / x - 1.0 / factor) / (1.0 - 1.0 / factor);
        let between = x > 1.0 && x < factor * 0.999_999;
        between.then(|| (frequency(base, rotary, pair) / TAU, smooth))
    });
    let (first, last) = (points.next()?, points.next_back()?);
    let slope = (first.1 - last.1) / (first.0 - last.0);
    let offset = slope * first.0 - first.1;
    let round = |x: f64| (x * 1e3).round() / 1e3;
    let (high, original) = (round(1.0 + 1.0 / offset), (slope / offset).round());
    let sound = offset > 0.0 && (1.0..1e9).contains(&original) && high.is_finite();
    sound.then_some((1.0, high, original as u32))
}

impl Scaling {
    /// What Llama 3 divides each frequency by.
    fn factors(&self, base: f64, rotary: u32) -> Vec<f64> {
        let Self::Llama3 {
            factor,
            low,
            high,
            original,
        } = *self
        else {
            return Vec::new();
        };
        let original = f64::from(original);
        let divisor = |pair| {
            let turns = original * frequency(base, rotary, pair) / TAU;
            let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            1.0 / ((1.0 - smooth) / factor + smooth)
        };
        (0..(rotary / 2) as usize).map(divisor).collect()
    }
}
