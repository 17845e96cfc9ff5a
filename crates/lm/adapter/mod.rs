//! LoRA (Hu et al. 2021): y = x·W + b + s·(x·Aᵀ)·Bᵀ, with W frozen and A [r, in], B [out, r] trained.
//!
//! `peft.rs` reads and writes the settings in PEFT's layout, `layers.rs` finds the linear layers that they
//! name, `base.rs` keeps the frozen weights of a folder once, whichever networks read them.

pub(crate) mod base;
pub(crate) mod layers;
pub(crate) mod peft;
pub(crate) mod spec;
pub(crate) mod weights;
