//! The processor: kernels on flat slices, and the [`Device`](crate::Device) that is made of them. They
//! do not know language models.
//!
//! Matrices are row-major. Work is cut by its size alone, so that results do not depend on the
//! number of threads; they do depend, in the last bits, on the processor's instruction set.

mod activation;
#[cfg(test)]
mod activation_tests;
mod adamw;
mod attention;
mod attention_backward;
#[cfg(test)]
mod attention_tests;
mod buffer;
mod cache;
#[cfg(test)]
mod cache_tests;
mod column_sums;
mod columns;
mod gemm_f32;
mod host;
mod kl;
mod log_softmax;
mod matmul;
mod matmul_bf16;
mod norm;
#[cfg(test)]
mod norm_tests;
mod numbers;
mod operations;
mod pack;
mod panel_sums;
mod panels;
mod precision;
mod rope;
#[cfg(test)]
mod rope_tests;
mod row_values;
mod rows;
mod sample;
mod segments;
mod simd;
mod split;
#[cfg(test)]
mod testing;
#[cfg(target_arch = "x86_64")]
mod tiles;
mod view;
mod widened;

pub use activation::{activate, activate_backward, activate_gated, activate_gated_backward};
pub use adamw::{adamw_step, sum_of_squares};
pub use attention::attention;
pub use attention_backward::{Attended, attention_backward};
pub use buffer::Buffer;
pub use cache::{Cache, CachedRow, attend_cached};
pub use column_sums::{add_column_sums, dot_rows, norm_backward_weights};
pub use columns::{HostColumns, HostColumnsMut};
pub use host::Cpu;
pub use kl::kl_rows;
pub use log_softmax::{RowSummary, log_softmax_backward, summarize_rows};
pub use matmul::matmul;
pub use norm::{GroupStats, norm_backward, norm_backward_in_place, norm_rows, norm_stats};
pub use numbers::{Numbers, NumbersMut};
pub use panel_sums::Epilogue;
pub use panels::PackedMatrix;
pub use rope::{HostRope, Turn, rope};
pub use row_values::{RowResults, Scored, expected_tilt_rows, greedy_row, soft_value_rows, top};
pub use rows::{
    add, add_columns, add_to_rows, embed, fill_rows, gather_rows, keep_rows, scatter_add_rows,
};
pub use sample::sample_rows;
pub use segments::Segments;
pub use simd::{Isa, instruction_sets, use_at_most};
pub use view::View;
