//! [`Attention`] of the processor: each operation is a kernel of the folder above.

use crate::cpu::{self, Cache, Cpu, Segments, Turn};
use crate::{Attended, Attention, AttentionShape, CachedPrompt, CachedRow, Rope, Slice, SliceMut};
use rayon::prelude::*;
use std::ops::Range;

impl Attention for Cpu {
    fn segments(&self, segments: &[(Range<usize>, Option<usize>)]) -> Segments {
        Segments::new(segments.iter().cloned())
    }

    fn rope(
        &self,
        shape: AttentionShape,
        rope: Rope<'_, Self>,
        positions: &[u32],
        qkv: SliceMut<'_, Self>,
    ) {
        cpu::rope(shape, rope.host(), positions, qkv.host(), Turn::Forward);
    }

    fn rope_backward(
        &self,
        shape: AttentionShape,
        rope: Rope<'_, Self>,
        positions: &[u32],
        d_qkv: SliceMut<'_, Self>,
    ) {
        cpu::rope(shape, rope.host(), positions, d_qkv.host(), Turn::Backward);
    }

    fn attention(
        &self,
        segments: &Segments,
        shape: AttentionShape,
        qkv: Slice<'_, Self>,
        output: SliceMut<'_, Self>,
        log_sums: SliceMut<'_, Self>,
    ) {
        cpu::attention(segments, shape, qkv.host(), output.host(), log_sums.host());
    }

    fn attention_backward(
        &self,
        segments: &Segments,
        shape: AttentionShape,
        attended: Attended<'_, Self>,
        d_output: Slice<'_, Self>,
        d_qkv: SliceMut<'_, Self>,
    ) {
        let attended = cpu::Attended {
            qkv: attended.qkv.host(),
            output: attended.output.host(),
            log_sums: attended.log_sums.host(),
        };
        cpu::attention_backward(segments, shape, attended, d_output.host(), d_qkv.host());
    }

    fn cache(&self, layers: &[AttentionShape], room: usize) -> Cache {
        Cache::new(layers, room)
    }

    fn room(&self, cache: &Cache) -> usize {
        cache.room()
    }

    fn cache_prompts(
        &self,
        prompts: &mut [CachedPrompt<'_, Self>],
        layer: usize,
        qkv: Slice<'_, Self>,
    ) {
        let qkv = qkv.host();
        prompts
            .par_iter_mut()
            .for_each(|CachedPrompt { cache, rows }| cache.put_prompt(layer, qkv, rows));
    }

    fn attend_cached(
        &self,
        rows: &mut [CachedRow<'_, Self>],
        layer: usize,
        qkv: Slice<'_, Self>,
        output: SliceMut<'_, Self>,
    ) {
        let rows = rows.iter_mut().map(|row| cpu::CachedRow {
            cache: &mut *row.cache,
            position: row.position,
        });
        let mut rows: Vec<cpu::CachedRow<'_>> = rows.collect();
        cpu::attend_cached(&mut rows, layer, qkv.host(), output.host());
    }
}
