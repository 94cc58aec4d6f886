//! Which resource serves a kind.

use crate::error::{Failure, answered};
use futures::future::join_all;
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{self, Discovery, Scope, verbs};
use kube::{Client, Error};
use model::ports::Capabilities;
use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

/// Where objects of a kind are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) api: ApiResource,
    pub(crate) namespaced: bool,
}

/// Asks the server once per kind; what it did not know is asked again, since definitions come and go.
pub(crate) struct Kinds {
    client: Client,
    known: Mutex<HashMap<(String, String), Resource>>,
}

impl Kinds {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// `None` if the server does not serve such objects.
    pub(crate) async fn resolve(&self, api_version: &str, kind: &str) -> Result<Option<Resource>, Failure> {
        let key = (api_version.to_owned(), kind.to_owned());
        let cached = self.known().get(&key).cloned();
        if cached.is_some() {
            return Ok(cached);
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind_of = GroupVersionKind::gvk(group, version, kind);
        let found = match answered(discovery::pinned_kind(&self.client, &kind_of)).await {
            Ok((api, capabilities)) => Resource { api, namespaced: capabilities.scope == Scope::Namespaced },
            Err(Error::Discovery(_)) => return Ok(None),
            Err(error) => match Failure::from(error) {
                Failure::Absent(_) => return Ok(None),
                other => return Err(other),
            },
        };
        self.known().insert(key, found.clone());
        Ok(Some(found))
    }

    /// As [`Self::resolve`], in whatever version the server prefers.
    pub(crate) async fn resolve_any(&self, group: &str, kind: &str) -> Result<Option<Resource>, Failure> {
        let of_kind = |resource: &&Resource| resource.api.group == group && resource.api.kind == kind;
        let cached = self.known().values().find(of_kind).cloned();
        if cached.is_some() {
            return Ok(cached);
        }
        let found = match answered(discovery::group(&self.client, group)).await {
            Ok(group) => group.recommended_kind(kind),
            Err(Error::Discovery(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let Some((api, capabilities)) = found else { return Ok(None) };
        let found = Resource { api, namespaced: capabilities.scope == Scope::Namespaced };
        self.known().insert((found.api.api_version.clone(), kind.to_owned()), found.clone());
        Ok(Some(found))
    }

    /// Drops what is known of a kind, because the server says that it is not there.
    pub(crate) fn forget(&self, resource: &Resource) {
        self.known().remove(&(resource.api.api_version.clone(), resource.api.kind.clone()));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Resource>> {
        self.known.lock().expect("no panic happens while the kinds are locked")
    }

    async fn discovery(&self) -> Result<Discovery, Failure> {
        match answered(Discovery::new(self.client.clone()).run_aggregated()).await {
            Ok(discovery) => Ok(discovery),
            Err(_) => Ok(answered(Discovery::new(self.client.clone()).run()).await?),
        }
    }

    /// Every kind that can be listed and watched, in its preferred version.
    pub(crate) async fn watchable(&self) -> Result<Vec<Resource>, Failure> {
        let discovery = self.discovery().await?;
        let resources = discovery.groups().flat_map(|group| group.recommended_resources());
        let watchable =
            resources.filter(|(_, can)| can.supports_operation(verbs::LIST) && can.supports_operation(verbs::WATCH));
        Ok(watchable.map(|(api, can)| Resource { api, namespaced: can.scope == Scope::Namespaced }).collect())
    }

    /// The server's version, and everything that it serves in each of its versions.
    pub(crate) async fn capabilities(&self) -> Result<Capabilities, Failure> {
        let version = answered(self.client.apiserver_version()).await?.git_version;
        let discovery = self.discovery().await?;
        let mut found = BTreeSet::new();
        for group in discovery.groups() {
            for version in group.versions() {
                let group_version = match group.name() {
                    "" => version.to_owned(),
                    name => format!("{name}/{version}"),
                };
                let kinds = group.versioned_resources(version);
                found.extend(kinds.into_iter().map(|(api, _)| format!("{group_version}/{}", api.kind)));
                found.insert(group_version);
            }
        }
        Ok(Capabilities { version, api_versions: found.into_iter().collect() })
    }

    /// Those of `resources` of which an object matches the selector. What may not be listed does not count.
    pub(crate) async fn in_use(&self, resources: Vec<Resource>, selector: &str) -> Result<Vec<Resource>, Failure> {
        let parameters = kube::api::ListParams::default().labels(selector).limit(1);
        let looks = resources.into_iter().map(|resource| async {
            let api = kube::Api::<kube::core::DynamicObject>::all_with(self.client.clone(), &resource.api);
            match answered(api.list(&parameters)).await.map_err(Failure::from) {
                Ok(list) => Ok(Some(resource).filter(|_| !list.items.is_empty())),
                Err(Failure::Unavailable(words)) => Err(Failure::Unavailable(words)),
                Err(refused) => {
                    tracing::debug!(kind = resource.api.kind, reason = refused.words(), "not looked at");
                    Ok(None)
                }
            }
        });
        join_all(looks).await.into_iter().filter_map(Result::transpose).collect()
    }
}
