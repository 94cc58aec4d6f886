//! Texts that many objects have in common, held once.

use std::collections::HashSet;
use std::sync::Arc;

/// Fewer than these are not looked through.
const SWEEP_MIN: usize = 64;

/// The names of labels, all of an object in one text. What no object has any more is let go now and then.
#[derive(Default)]
pub(super) struct Names {
    known: HashSet<Arc<str>>,
    /// How many were left when they were last looked through.
    left: usize,
}

impl Names {
    /// The text, shared with all that have it.
    pub fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= SWEEP_MIN.max(2 * self.left) {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            self.left = self.known.len();
        }
        let text: Arc<str> = text.into();
        self.known.insert(text.clone());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_held_once_and_the_rest_does_not_pile_up() {
        let mut names = Names::default();
        let held: Vec<_> = (0..100).map(|n| names.share(&format!("app\0tier-{n}\0"))).collect();
        assert!(Arc::ptr_eq(&names.share("app\0tier-7\0"), &held[7]));
        for n in 0..10_000 {
            names.share(&format!("gone-{n}"));
        }
        assert!(names.known.len() <= 256, "{} are held", names.known.len());
        assert!(Arc::ptr_eq(&names.share("app\0tier-99\0"), &held[99]));
    }
}
