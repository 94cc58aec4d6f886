//! Builds that were made: of the same files, nothing is built again.

use super::files::{Sources, Trace};
use super::{Built, Charts, Options, Order, built};
use crate::error::Error;
use model::Snapshot;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

/// Directories that are remembered.
const DIRECTORIES_MAX: usize = 256;

/// Remembers per directory what was built last, and of which files. A change of one environment leaves the others as
/// they were, although all of them are read from a new commit.
#[derive(Default)]
pub struct Cache {
    built: Mutex<HashMap<(String, Way), (Trace, Arc<Built>)>>,
}

/// What a build depends on beside its files.
type Way = (Order, bool, Option<Charts>, bool);

impl Cache {
    /// As [`super::build`].
    ///
    /// # Errors
    /// As there; what is wrong is not remembered.
    pub fn build(&self, snapshot: &Snapshot, directory: &str, options: &Options) -> Result<Arc<Built>, Error> {
        let way = (options.order, options.load_outside, options.charts.clone(), options.managed_by_label);
        let key = (directory.to_owned(), way);
        if let Some((trace, objects)) = self.lock().get(&key)
            && trace.holds(snapshot)
        {
            return Ok(objects.clone());
        }
        let sources = Rc::new(Sources::new(&options.remotes));
        let objects = Arc::new(built(snapshot, directory, options, &sources)?);
        let trace = sources.take_trace();
        // What lies elsewhere may be another next time.
        if !trace.has_remotes() {
            let mut built = self.lock();
            if built.len() >= DIRECTORIES_MAX {
                built.clear();
            }
            built.insert(key, (trace, objects.clone()));
        }
        Ok(objects)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Way), (Trace, Arc<Built>)>> {
        self.built.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
