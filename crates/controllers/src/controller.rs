//! The loop that all controllers share: take an object, look at it, note when to look again.

use crate::error::Error;
use crate::objects::Key;
use crate::queue::{Next, Queue};
use std::future::Future;

/// One kind of decision about one kind of object.
pub(crate) trait Reconcile: Send + Sync + 'static {
    /// For messages.
    const NAME: &'static str;
    /// Who wants a look.
    fn queue(&self) -> &Queue;
    /// Brings the world closer to what the object asks for. Never runs twice at once for one object.
    fn reconcile(&self, key: &Key) -> impl Future<Output = Result<Next, Error>> + Send;
}

/// Works until dropped.
pub(crate) async fn work<R: Reconcile>(controller: &R) {
    loop {
        let key = controller.queue().next().await;
        let next = match controller.reconcile(&key).await {
            Ok(next) => next,
            Err(error) => {
                tell(R::NAME, &key, &error);
                Next::Retry
            }
        };
        controller.queue().done(key, next);
    }
}

fn tell(name: &'static str, key: &Key, error: &Error) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    if error.is_conflict() {
        // Somebody else was faster; the watch brings what they wrote.
        tracing::debug!(controller = name, object = %key, %error, source, "looking again");
    } else {
        tracing::warn!(controller = name, object = %key, %error, source, "trying again");
    }
}
