//! CPU kernels on flat slices. They know nothing of language models.
//!
//! Matrices are row-major. Work is cut by its size alone, so that results do not depend on the
//! number of threads; they do depend, in the last bits, on the processor's instruction set.

mod buffer;
mod kl;
mod sample;
#[allow(dead_code)]
mod simd;
#[allow(dead_code)]
mod split;

pub use buffer::Buffer;
pub use kl::kl_rows;
pub use sample::sample_row;
