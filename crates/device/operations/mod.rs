//! The operations of a device, a trait for each family.

mod attention;
mod layers;
mod memory;
mod optimizer;
mod products;
mod readout;

pub use attention::Attention;
pub use layers::Layers;
pub use memory::Memory;
pub use optimizer::Optimizer;
pub use products::Products;
pub use readout::Readout;
