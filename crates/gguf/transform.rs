//! How a tensor's numbers lie in a GGUF file and in a folder, where they lie differently.

use crate::config::Config;
use crate::{Result, Sink};

/// The difference between a tensor of a folder and its counterpart in a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transform {
    /// None.
    Same,
    /// GPT-2's folders store matrices as [in, out], GGUF all of them as [out, in].
    Transposed,
    /// Rows of the query projection: each head's first half of rows and its second half in a folder,
    /// pairs of one row from each in GGUF, for llama.cpp rotates neighbours for `llama` alone.
    QueryPairs,
    /// The same of the key projection, which may have fewer heads.
    KeyPairs,
    /// GPT-NeoX: a head's query, key and value rows follow each other in a folder; in GGUF, the queries
    /// of all heads come first, then the keys, then the values.
    HeadsOfQkv,
    /// Gemma's norms multiply by 1 + w: folders store w, GGUF 1 + w.
    PlusOne,
}

/// Which way a tensor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From GGUF to a folder.
    Import,
    /// From a folder to GGUF.
    Export,
}

/// Reads a tensor in order, some numbers at a time.
pub(crate) type Source<'a> = dyn Fn(&mut Sink<'_>) -> Result<()> + 'a;

impl Transform {
    /// What the tensor's shape becomes.
    pub(crate) fn shape(self, shape: &[usize]) -> Vec<usize> {
        match self {
            Self::Transposed => shape.iter().rev().copied().collect(),
            _ => shape.to_vec(),
        }
    }

    /// Checks that a tensor of this shape can be transformed.
    pub(crate) fn check(self, name: &str, shape: &[usize], config: &Config) -> Result<()> {
        let fits = match self {
            Self::Same | Self::PlusOne => true,
            Self::Transposed => shape.len() == 2,
            Self::QueryPairs => divides(2 * heads(config, "num_attention_heads")?, shape),
            Self::KeyPairs => divides(2 * heads(config, "num_key_value_heads")?, shape),
            Self::HeadsOfQkv => divides(3 * heads(config, "num_attention_heads")?, shape),
        };
        if fits {
            Ok(())
        } else {
            Err(config.invalid(format!(
                "tensor `{name}` has shape {shape:?}, which does not suit the number of heads"
            )))
        }
    }

    /// Hands the transformed numbers of a tensor of this shape on.
    pub(crate) fn apply(
        self,
        direction: Direction,
        shape: &[usize],
        config: &Config,
        source: &Source<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let rows = shape[0];
        let row = match self {
            Self::Same => return source(sink),
            Self::PlusOne => {
                let one = match direction {
                    Direction::Import => -1.0,
                    Direction::Export => 1.0,
                };
                let shift = |x: &f32| x + one;
                return source(&mut |values| sink(&values.iter().map(shift).collect::<Vec<_>>()));
            }
            Self::Transposed => return transpose(shape, source, sink),
            Self::QueryPairs => [heads(config, "num_attention_heads")?, 2],
            Self::KeyPairs => [heads(config, "num_key_value_heads")?, 2],
            Self::HeadsOfQkv => [heads(config, "num_attention_heads")?, 3],
        };
        let [heads, parts] = row;
        let size = rows / (heads * parts);
        // A folder's row is (head, part, i) in both cases.
        let folder = |head, part, i| (head * parts + part) * size + i;
        let gguf = |head, part, i| match self {
            Self::HeadsOfQkv => (part * heads + head) * size + i,
            _ => (head * size + i) * parts + part,
        };
        let mut order = vec![0; rows];
        for head in 0..heads {
            for part in 0..parts {
                for i in 0..size {
                    let (folder, gguf) = (folder(head, part, i), gguf(head, part, i));
                    match direction {
                        Direction::Import => order[folder] = gguf,
                        Direction::Export => order[gguf] = folder,
                    }
                }
            }
        }
        let (values, width) = (collect(source)?, shape[1..].iter().product::<usize>());
        let mut ordered = Vec::with_capacity(values.len());
        for row in order {
            ordered.extend_from_slice(&values[row * width..(row + 1) * width]);
        }
        sink(&ordered)
    }
}

fn divides(parts: usize, shape: &[usize]) -> bool {
    shape[0].is_multiple_of(parts)
}

/// A number of heads; there are as many of keys as of queries where the settings do not say.
fn heads(config: &Config, key: &str) -> Result<usize> {
    let heads = match config.get(key) {
        Some(_) => config.count(key)?,
        None => config.count("num_attention_heads")?,
    };
    Ok(heads as usize)
}

/// All numbers of a tensor. Those that are transformed are projections of one layer, some megabytes.
pub(crate) fn collect(source: &Source<'_>) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    source(&mut |values| {
        all.extend_from_slice(values);
        Ok(())
    })?;
    Ok(all)
}

fn transpose(shape: &[usize], source: &Source<'_>, sink: &mut Sink<'_>) -> Result<()> {
    let (values, [rows, columns]) = (collect(source)?, [shape[0], shape[1]]);
    let mut turned = Vec::with_capacity(values.len());
    for column in 0..columns {
        turned.extend((0..rows).map(|row| values[row * columns + column]));
    }
    sink(&turned)
}
