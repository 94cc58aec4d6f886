//! What is done when the work of a moment is over.

use anyhow::Result;
use futures::StreamExt;
use reconcile::Reconciler;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// After a change, the memory that it took is given back so long afterwards: objects are packed by then.
const AFTER: Duration = Duration::from_secs(20);
/// How often that is done after one change.
const TIMES: usize = 2;

/// Gives memory back after work, until shutdown. Where nothing happens, nothing is done.
pub async fn run(reconciler: Reconciler, shutdown: CancellationToken) -> Result<()> {
    let mut changes = std::pin::pin!(reconciler.changes(None)?);
    while let Some(Some(())) = shutdown.run_until_cancelled(changes.next()).await {
        for _ in 0..TIMES {
            if shutdown.run_until_cancelled(tokio::time::sleep(AFTER)).await.is_none() {
                return Ok(());
            }
            tokio::task::spawn_blocking(container::give_back).await?;
        }
    }
    Ok(())
}
