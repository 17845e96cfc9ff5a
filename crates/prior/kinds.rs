//! The kinds that are built in, a line each.

use crate::counting::CountingKind;
use crate::demonstrations::DemonstrationsKind;
use crate::kind::PriorKinds;
use crate::mixture_kind::MixtureKind;
use crate::reference::ReferenceKind;
use crate::uniform::UniformKind;

/// Adds all of them.
pub fn add_all(to: &mut impl PriorKinds) {
    to.add::<CountingKind>();
    to.add::<UniformKind>();
    to.add::<ReferenceKind>();
    to.add::<DemonstrationsKind>();
    to.add::<MixtureKind>();
}
