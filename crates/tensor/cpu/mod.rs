//! CPU kernels on flat slices. They know nothing of language models.

mod buffer;
mod kl;

pub use buffer::Buffer;
pub use kl::kl_rows;
