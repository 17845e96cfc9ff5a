//! The built-in kinds of priors, one line each.

use crate::counting::CountingKind;
use crate::demonstrations::DemonstrationsKind;
use crate::kind::PriorKinds;
use crate::mixture_kind::MixtureKind;
use crate::reference::ReferenceKind;
use crate::uniform::UniformKind;

/// Adds all built-in kinds.
pub fn add_all(to: &mut impl PriorKinds) {
    to.add::<CountingKind>();
    to.add::<UniformKind>();
    to.add::<ReferenceKind>();
    to.add::<DemonstrationsKind>();
    to.add::<MixtureKind>();
}
