//! Changing an object by a patch: JSON patch, JSON merge patch, strategic merge patch.

mod json;
mod merge;
mod strategic;

pub use json::{JsonPatchError, json_patch};
pub use merge::merge_patch;
pub use strategic::{StrategicError, strategic_merge_patch};
