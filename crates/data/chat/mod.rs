//! Chat templates: how a checkpoint writes a conversation.

mod functions;
mod load;
mod template;

pub use template::Template;
pub(crate) use template::{ARGUMENTS, TOOLS};
