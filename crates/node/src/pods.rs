//! Watches the Pods of this node and gives each a worker.

use crate::context::Context;
use crate::kubelet;
use crate::pod::PodExt;
use crate::worker::{self, Latest};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Of a Pod: uid, and namespace and name.
type Identity = (String, (String, String));

struct Pods {
    context: Arc<Context>,
    shutdown: CancellationToken,
    /// By uid: a name may come again while its old Pod still ends.
    workers: HashMap<String, watch::Sender<Latest>>,
    /// Which end with what identifies their Pod.
    tasks: JoinSet<Identity>,
    /// Uids seen since a list began.
    listed: HashSet<String>,
    orphans_removed: bool,
}

/// Works until shutdown; the workers have ended when it returns, containers run on.
pub(crate) async fn run(context: Arc<Context>, node: String, shutdown: CancellationToken) {
    let api: Api<Pod> = Api::all(context.client.clone());
    let ours = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let changes = watcher(api, ours).default_backoff();
    let mut changes = std::pin::pin!(changes.map_ok(|event| event.modify(|pod| pod.metadata.managed_fields = None)));
    let mut pods = Pods {
        context,
        shutdown: shutdown.clone(),
        workers: HashMap::new(),
        tasks: JoinSet::new(),
        listed: HashSet::new(),
        orphans_removed: false,
    };
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(event)) => pods.take(event),
                Some(Err(error)) => tracing::warn!(%error, "Pods cannot be watched; trying again"),
                None => break,
            },
            Some(ended) = pods.tasks.join_next() => pods.ended(ended),
            () = shutdown.cancelled() => break,
        }
    }
    while pods.tasks.join_next().await.is_some() {}
}

/// A Pod as it is held for as long as it lives: a copy takes no more than it needs, what was read has room to grow.
pub(crate) fn kept(pod: &Pod) -> Arc<Pod> {
    Arc::new(pod.clone())
}

impl Pods {
    fn take(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(pod) => {
                self.listed.insert(pod.uid_str().to_owned());
                self.is(pod);
            }
            watcher::Event::Apply(pod) => self.is(pod),
            watcher::Event::Delete(pod) => self.gone(pod.uid_str()),
            watcher::Event::InitDone => self.complete(),
        }
    }

    fn is(&mut self, pod: Pod) {
        let (uid, pod) = (pod.uid_str().to_owned(), kept(&pod));
        if let Some(worker) = self.workers.get(&uid) {
            worker.send_replace(Latest::Is(pod));
            return;
        }
        let identity = (uid.clone(), pod.key());
        let (sender, receiver) = watch::channel(Latest::Is(pod));
        self.workers.insert(uid, sender);
        let (context, shutdown) = (self.context.clone(), self.shutdown.child_token());
        self.tasks.spawn(async move {
            worker::run(context, receiver, shutdown).await;
            identity
        });
    }

    fn gone(&mut self, uid: &str) {
        if let Some(worker) = self.workers.get(uid) {
            worker.send_replace(Latest::Gone);
        }
    }

    /// The list is complete: what is not in it is gone, and what belongs to none of it is removed.
    fn complete(&mut self) {
        let missing: Vec<String> = self.workers.keys().filter(|uid| !self.listed.contains(*uid)).cloned().collect();
        for uid in missing {
            self.gone(&uid);
        }
        if std::mem::replace(&mut self.orphans_removed, true) {
            return;
        }
        let (context, uids) = (self.context.clone(), self.listed.clone());
        tokio::spawn(async move {
            if let Err(error) = context.runtime.retain(&uids).await {
                tracing::warn!(error = error.line(), "remains of Pods that are gone could not be removed");
            }
        });
    }

    fn ended(&mut self, ended: Result<Identity, tokio::task::JoinError>) {
        match ended {
            Ok((uid, key)) => {
                self.workers.remove(&uid);
                kubelet::withdraw(&self.context.shown, &uid, &key);
            }
            Err(error) => tracing::error!(%error, "a Pod's worker failed; restart to take its Pod up again"),
        }
    }
}
