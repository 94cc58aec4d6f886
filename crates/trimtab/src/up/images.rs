//! What nothing names any more leaves the image store: not a pin, a release, one of the last builds, a name in the store, a
//! Pod, or anybody who works with it. The same of archives of charts, which open Changes may name too.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use model::ImageRef;
use oci::Digest;
use reconcile::Reconciler;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What came or was asked for within this may be named soon.
const GRACE: Duration = Duration::from_secs(3600);
/// Whatever loses its name within this goes together: each time reads the whole store.
const GATHERED: Duration = Duration::from_secs(600);

/// Sweeps after something was `discarded`, and once for what a process before this one has left.
pub async fn run(
    images: oci::Store,
    charts: source::Charts,
    reconciler: Reconciler,
    client: kube::Client,
    mut discarded: watch::Receiver<()>,
    stop: CancellationToken,
) {
    let work = async move {
        loop {
            tokio::time::sleep(GATHERED).await;
            discarded.mark_unchanged();
            match swept(&images, &reconciler, &client).await {
                Ok(swept) if swept.blobs + swept.layers == 0 => {}
                Ok(oci::Swept { blobs, blob_bytes, layers }) => {
                    tracing::info!(blobs, blob_bytes, layers, "images that nothing names any more are gone");
                }
                Err(error) => tracing::warn!(error = format!("{error:#}"), "images that nothing names stay"),
            }
            match swept_charts(&charts, &reconciler).await {
                Ok((0, _)) => {}
                Ok((archives, bytes)) => {
                    tracing::info!(archives, bytes, "archives of charts that nothing names any more are gone");
                }
                Err(error) => tracing::warn!(error = format!("{error:#}"), "archives that nothing names stay"),
            }
            if discarded.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = stop.run_until_cancelled(work).await;
}

async fn swept(images: &oci::Store, reconciler: &Reconciler, client: &kube::Client) -> Result<oci::Swept> {
    // What is not known is not let go.
    let named = reconciler.images().await.map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await.context("listing Pods")?;
    sweep(images, &named, &pods.items, GRACE).await
}

async fn swept_charts(charts: &source::Charts, reconciler: &Reconciler) -> Result<(usize, u64)> {
    // What is not known is not let go.
    let named = reconciler.charts().await.map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    Ok(charts.sweep(named, GRACE).await?)
}

async fn sweep(images: &oci::Store, named: &BTreeSet<ImageRef>, pods: &[Pod], grace: Duration) -> Result<oci::Swept> {
    let named = named.iter().filter_map(|image| image.digest().as_str().parse().ok());
    let roots: BTreeSet<Digest> = named.chain(pods.iter().flat_map(running)).collect();
    Ok(images.gc(roots.into_iter().collect(), Vec::new(), grace).await?)
}

/// Images that a Pod runs, or is to: a name may stand for another one by now, a digest does not.
fn running(pod: &Pod) -> impl Iterator<Item = Digest> {
    let status = pod.status.as_ref();
    let told = status.into_iter().flat_map(|status| {
        let all = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
        all.into_iter().flatten().flatten().map(|container| container.image_id.as_str())
    });
    let wanted = pod.spec.iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(init).filter_map(|container| container.image.as_deref())
    });
    told.chain(wanted).filter_map(|image| image.rsplit('@').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn an_image_goes_when_its_build_does_unless_a_pin_or_a_pod_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = oci::Store::open(directory.path()).unwrap();
        let image = |number: usize| {
            let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
                "config": { "Labels": { "number": number.to_string() } } });
            let digest = store.put_image(config.to_string().as_bytes(), &[]).unwrap();
            let name = format!("{}/shop/web:{number}", model::REGISTRY).parse().unwrap();
            store.tag(&name, &digest).unwrap();
            (name, digest)
        };
        let all: Vec<(oci::Reference, Digest)> = (1..=4).map(image).collect();
        let stands = |number: usize| store.image(&all[number - 1].1).is_ok();
        // The last build keeps its name; of the others one is pinned and one runs.
        for (name, _) in &all[..3] {
            assert!(store.untag(name).unwrap());
        }
        let pinned: ImageRef = format!("{}/shop/web@{}", model::REGISTRY, all[0].1).parse().unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "web" },
            "spec": { "containers": [{ "name": "web", "image": "web:latest" }] },
            "status": { "containerStatuses": [{ "name": "web", "image": "web:latest", "ready": true, "restartCount": 0,
                "imageID": format!("web@{}", all[1].1) }] },
        }))
        .unwrap();
        let named = BTreeSet::from([pinned]);
        let young = sweep(&store, &named, std::slice::from_ref(&pod), GRACE).await.unwrap();
        assert_eq!(young, oci::Swept::default(), "what was just made may be named soon");
        let swept = sweep(&store, &named, std::slice::from_ref(&pod), Duration::ZERO).await.unwrap();
        assert_eq!(swept.blobs, 2, "manifest and configuration");
        assert_eq!((1..=4).map(stands).collect::<Vec<_>>(), [true, true, false, true]);
    }
}
