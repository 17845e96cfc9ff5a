//! The backward pass of a block: the way of `block.rs` back.

use super::block::{Block, Norms, Pass, Saved, SavedNorms, Scratch};
use rlhf_device::{Attended, Device, Slice, SliceMut, Write};
use rlhf_models::{Gate, NormPlace, Residual};
use rlhf_tensor::{Gradients, Weights};

/// Weights to read and gradients to add to.
type Both<'a, 'b, D> = (Weights<'a, D>, &'a mut Gradients<'b, D>);

impl Block {
    /// `dx` [n, D], the gradient of the output, becomes that of the input. `kept` are the input and
    /// what was saved of it.
    pub(super) fn backward<D: Device>(
        &self,
        pass: Pass<'_, D>,
        gradients: &mut Gradients<'_, D>,
        mut dx: SliceMut<'_, D>,
        (input, saved): (Slice<'_, D>, &Saved<D>),
        scratch: &mut Scratch<D>,
    ) {
        let n = dx.len() / self.width;
        let mixed = Slice::first(&saved.mixed, n * self.attention.query_width());
        let source = match self.residual {
            Residual::Serial => Slice::first(&saved.middle, dx.len()),
            Residual::Parallel => input,
        };
        let of_rows = (mixed, source, dx.reborrow());
        self.backward_layers(pass, gradients, of_rows, saved, scratch);
        self.backward_attention(pass, gradients, dx, (input, saved), scratch);
    }

    /// The same where `rows` went on: `d_rows` [R, D] is the gradient of their output, `dx` [n, D] ←
    /// that of the input.
    pub(super) fn backward_rows<D: Device>(
        &self,
        pass: Pass<'_, D>,
        gradients: &mut Gradients<'_, D>,
        (rows, mut d_rows, mut dx): (&[usize], SliceMut<'_, D>, SliceMut<'_, D>),
        (input, saved): (Slice<'_, D>, &Saved<D>),
        scratch: &mut Scratch<D>,
    ) {
        let (device, query_width) = (pass.weights.device(), self.attention.query_width());
        let mixed = Slice::first(&saved.chosen, rows.len() * query_width);
        let source = match self.residual {
            Residual::Serial => Slice::first(&saved.middle, d_rows.len()),
            Residual::Parallel => Slice::first(&saved.source, d_rows.len()),
        };
        let of_rows = (mixed, source, d_rows.reborrow());
        self.backward_layers(pass, gradients, of_rows, saved, scratch);
        device.clear(dx.reborrow());
        device.scatter_add_rows(rows, d_rows.read(), dx.reborrow());
        let n = dx.len() / self.width;
        let mut d_mixed = device.at_least(&mut scratch.wide, n * query_width);
        device.clear(d_mixed.reborrow());
        let of_rows = Slice::first(&scratch.gradient, rows.len() * query_width);
        device.scatter_add_rows(rows, of_rows, d_mixed.reborrow());
        let gradient = device.at_least(&mut scratch.gradient, n * query_width);
        device.copy(d_mixed.read(), gradient);
        self.backward_attention(pass, gradients, dx, (input, saved), scratch);
    }

    /// The gradient `dx` of the rows that went on becomes that of the rows that they were, attention apart,
    /// and the gradient of what attention mixed is left in the scratch memory. `source` is what the
    /// feed-forward layer read.
    fn backward_layers<D: Device>(
        &self,
        pass: Pass<'_, D>,
        gradients: &mut Gradients<'_, D>,
        (mixed, source, mut dx): (Slice<'_, D>, Slice<'_, D>, SliceMut<'_, D>),
        saved: &Saved<D>,
        scratch: &mut Scratch<D>,
    ) {
        let weights = pass.weights;
        match self.residual {
            Residual::Serial => {
                let of_rows = (source, dx.reborrow());
                self.backward_mlp((weights, gradients), of_rows, saved, scratch);
                self.backward_mixed((weights, gradients), (mixed, dx), saved, scratch);
            }
            Residual::Parallel => {
                let of_rows = (mixed, dx.reborrow());
                self.backward_mixed((weights, gradients), of_rows, saved, scratch);
                std::mem::swap(&mut scratch.gradient, &mut scratch.parallel_gradient);
                self.backward_mlp((weights, gradients), (source, dx), saved, scratch);
                std::mem::swap(&mut scratch.gradient, &mut scratch.parallel_gradient);
            }
        }
    }

    /// Adds to `dx` what comes through the feed-forward layer.
    fn backward_mlp<D: Device>(
        &self,
        (weights, gradients): Both<'_, '_, D>,
        (source, mut dx): (Slice<'_, D>, SliceMut<'_, D>),
        saved: &Saved<D>,
        scratch: &mut Scratch<D>,
    ) {
        let (device, size) = (weights.device(), dx.len());
        let n = size / self.width;
        let (wide, expanded) = (n * self.mlp.inner, n * self.mlp.expanded());
        let (norms, kept) = (&self.mlp_norms, &saved.mlp_norms);
        let (both, memory) = ((weights, &mut *gradients), &mut scratch.answer_gradient);
        let d_answer = self.backward_after(both, norms, kept, dx.reborrow(), memory);
        let inner = Slice::first(&saved.inner, expanded);
        let mut active = device.at_least(&mut scratch.wide, wide);
        let mut d_inner = device.at_least(&mut scratch.wide_gradient, expanded);
        let (kind, down) = (self.mlp.activation, &self.down);
        match self.mlp.gate {
            Gate::None => {
                down.backward_input(weights, d_answer, d_inner.reborrow(), Write::Over);
                device.activate_backward(kind, inner, active.reborrow(), d_inner.reborrow());
            }
            Gate::Gated => {
                let mut d_active = device.at_least(&mut scratch.gated_gradient, wide);
                down.backward_input(weights, d_answer, d_active.reborrow(), Write::Over);
                let of_inner = (inner, self.mlp.inner);
                device.activate_gated_backward(
                    kind,
                    of_inner,
                    active.reborrow(),
                    d_active.read(),
                    d_inner.reborrow(),
                );
            }
        }
        down.backward_weights((weights, gradients), active.read(), d_answer);
        let Some(norm) = &norms.before else {
            self.up
                .backward_weights((weights, gradients), source, d_inner.read());
            self.up
                .backward_input(weights, d_inner.read(), dx, Write::Add);
            return;
        };
        let mut normed = device.at_least(&mut scratch.normed, size);
        norm.again(weights, source, &kept.before, normed.reborrow());
        self.up
            .backward_weights((weights, gradients), normed.read(), d_inner.read());
        let mut d_normed = device.at_least(&mut scratch.gradient, size);
        self.up
            .backward_input(weights, d_inner.read(), d_normed.reborrow(), Write::Over);
        let of_source = (source, &kept.before);
        norm.backward(
            (weights, gradients),
            of_source,
            d_normed.read(),
            dx,
            Write::Add,
        );
    }

    /// The gradient of a layer's answer, from that of the residual stream after it, `dx`. A norm of the sum
    /// of both changes `dx` too.
    fn backward_after<'a, D: Device>(
        &self,
        both: Both<'_, '_, D>,
        norms: &Norms,
        kept: &SavedNorms<D>,
        dx: SliceMut<'a, D>,
        memory: &'a mut D::Buffer,
    ) -> Slice<'a, D> {
        let Some(norm) = &norms.after else {
            return dx.into_read();
        };
        let size = dx.len();
        let of_answer = (Slice::first(&kept.answer, size), &kept.after);
        if self.place == NormPlace::OnSum {
            let mut dx = dx;
            norm.backward_in_place(both, of_answer, dx.reborrow());
            return dx.into_read();
        }
        let mut d_answer = both.0.device().at_least(memory, size);
        norm.backward(both, of_answer, dx.read(), d_answer.reborrow(), Write::Over);
        d_answer.into_read()
    }

    /// Leaves the gradient of what attention mixed in the scratch memory.
    fn backward_mixed<D: Device>(
        &self,
        (weights, gradients): Both<'_, '_, D>,
        (mixed, dx): (Slice<'_, D>, SliceMut<'_, D>),
        saved: &Saved<D>,
        scratch: &mut Scratch<D>,
    ) {
        let (norms, kept) = (&self.attention_norms, &saved.attention_norms);
        let (both, memory) = ((weights, &mut *gradients), &mut scratch.answer_gradient);
        let d_answer = self.backward_after(both, norms, kept, dx, memory);
        let d_mixed = weights
            .device()
            .at_least(&mut scratch.gradient, mixed.len());
        let out = &self.attention_out;
        out.backward_weights((weights, gradients), mixed, d_answer);
        out.backward_input(weights, d_answer, d_mixed, Write::Over);
    }

    /// Adds to `dx` what comes through attention.
    fn backward_attention<D: Device>(
        &self,
        pass: Pass<'_, D>,
        gradients: &mut Gradients<'_, D>,
        dx: SliceMut<'_, D>,
        (input, saved): (Slice<'_, D>, &Saved<D>),
        scratch: &mut Scratch<D>,
    ) {
        let (weights, device) = (pass.weights, pass.weights.device());
        let (size, shape) = (dx.len(), self.attention);
        let n = size / self.width;
        let (of_qkv, of_queries) = (n * shape.qkv_width(), n * shape.query_width());
        let mut d_qkv = device.at_least(&mut scratch.wide_gradient, of_qkv);
        let attended = Attended {
            qkv: Slice::first(&saved.qkv, of_qkv),
            output: Slice::first(&saved.mixed, of_queries),
            log_sums: Slice::first(&saved.log_sums, n * shape.heads),
        };
        let d_output = Slice::first(&scratch.gradient, of_queries);
        device.attention_backward(pass.segments, shape, attended, d_output, d_qkv.reborrow());
        if let Some(rope) = self.rope {
            device.rope_backward(
                shape,
                pass.ropes.get(rope),
                pass.positions,
                d_qkv.reborrow(),
            );
        }
        if let Some(norm) = &self.query_key_norm {
            let projected = (Slice::first(&saved.projected, of_qkv), &saved.query_key);
            norm.backward((weights, gradients), shape, projected, d_qkv.reborrow());
        }
        let Some(norm) = &self.attention_norms.before else {
            self.qkv
                .backward_weights((weights, gradients), input, d_qkv.read());
            self.qkv
                .backward_input(weights, d_qkv.read(), dx, Write::Add);
            return;
        };
        let stats = &saved.attention_norms.before;
        let mut normed = device.at_least(&mut scratch.normed, size);
        norm.again(weights, input, stats, normed.reborrow());
        self.qkv
            .backward_weights((weights, gradients), normed.read(), d_qkv.read());
        let mut d_normed = device.at_least(&mut scratch.gradient, size);
        self.qkv
            .backward_input(weights, d_qkv.read(), d_normed.reborrow(), Write::Over);
        norm.backward(
            (weights, gradients),
            (input, stats),
            d_normed.read(),
            dx,
            Write::Add,
        );
    }
}
