//! A tiny world to try everything on: short film reviews from a grammar, the words they are made
//! of, and a lexicon that says which words please.
//!
//! The language is small enough that a two-layer GPT-2 learns it in seconds, and a person sees in
//! the samples what a reward does to it. Nothing is trained here.
//!
//! ```
//! let world = rlhf_demo::World::generate(1, 3);
//! assert_eq!(world.reviews.len(), 3);
//! assert!(world.reviews[0].ends_with(" ."));
//! ```

mod grammar;
mod world;

pub use world::World;
