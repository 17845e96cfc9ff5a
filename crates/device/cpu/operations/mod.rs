//! The operations of the processor, a file for each family.

mod attention;
mod layers;
mod memory;
mod optimizer;
mod products;
mod readout;
