//! The server: what it is made of, and the way of a request through it.

use crate::addresses::{Addresses, Network};
use crate::admission::Admission;
use crate::body;
use crate::call::Call;
use crate::reply::{self, Body, BoxError};
use crate::resource::{self, Registry, Resource};
use crate::status::{Refusal, Result};
use crate::store::{self, Change, CommitError, Expected, Key, Store, StoreError, Stored, Uid, Write};
use crate::{crd, discovery, expiry, gc, rbac, strategy};
use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, Request, Response, request};
use serde_json::json;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;

/// The kubelet's own HTTP API, in process: `GET /containerLogs/{namespace}/{pod}/{container}?follow&tailLines…`.
pub type Kubelet = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// What a server is made of.
pub struct Config {
    /// The file that holds all objects; created if absent, its directory must exist.
    pub store: PathBuf,
    /// Has a say on every write.
    pub admission: Option<Arc<dyn Admission>>,
    /// Where Services have their addresses. `None` if nothing serves such addresses: all Services are then headless,
    /// and whoever creates one is told.
    pub services: Option<Network>,
}

/// Who asks. Set by whoever lets the request in: the TLS listener, or the owner of an in-process
/// client; never read from a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `system:serviceaccount:shop-dev:deployer`, `alice`.
    pub user: String,
    /// `system:masters` may do everything.
    pub groups: Vec<String>,
}

impl Identity {
    /// Someone who may do everything.
    pub fn master(user: impl Into<String>) -> Self {
        Self { user: user.into(), groups: vec![rbac::MASTERS.into(), rbac::AUTHENTICATED.into()] }
    }
}

/// Why a server cannot start or be reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used.
    #[error("the Kubernetes API cannot open its store")]
    Open(#[source] StoreError),
    /// A namespace that always exists cannot be created.
    #[error("the Kubernetes API cannot create the namespace {0}")]
    Namespace(String, #[source] CommitError),
}

/// The embedded API server. Cloning shares it.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

/// What all requests share.
pub struct Inner {
    pub store: Arc<Store>,
    pub admission: Option<Arc<dyn Admission>>,
    pub stop: CancellationToken,
    pub roles: rbac::Cache,
    pub addresses: Addresses,
    builtins: Vec<Arc<Resource>>,
    registry: RwLock<Arc<Registry>>,
    /// Compiled definitions by uid, with the revision that they were made from.
    compiled: Mutex<HashMap<Uid, Compiled>>,
    kubelet: RwLock<Option<Kubelet>>,
}

/// The revision of a definition, and what it adds.
type Compiled = (u64, Vec<Arc<Resource>>);

impl ApiServer {
    /// Loads the store, makes the namespaces that always exist, and starts garbage collection.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let store = Store::open(&config.store).map_err(Error::Open)?;
        let builtins = resource::builtins();
        let inner = Arc::new(Inner {
            store: Arc::new(store),
            admission: config.admission,
            stop: CancellationToken::new(),
            roles: rbac::Cache::default(),
            addresses: Addresses::new(config.services),
            registry: RwLock::new(Arc::new(Registry::new(&builtins, Vec::new()))),
            builtins,
            compiled: Mutex::default(),
            kubelet: RwLock::new(None),
        });
        inner.refresh();
        for name in strategy::PERMANENT_NAMESPACES {
            inner.ensure_namespace(name).await.map_err(|error| Error::Namespace(name.to_owned(), error))?;
        }
        tokio::spawn(gc::run(Arc::downgrade(&inner), inner.stop.clone(), inner.store.changes()));
        tokio::spawn(expiry::run(Arc::downgrade(&inner), inner.stop.clone()));
        tokio::spawn(store::settle_down(Arc::downgrade(&inner.store), inner.stop.clone()));
        Ok(Self { inner })
    }

    /// Connects the node, which answers for logs. It is started later than the server.
    pub fn set_kubelet<S, B>(&self, kubelet: S)
    where
        S: tower::Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let boxed = tower::ServiceExt::map_response(kubelet, |response: Response<B>| response.map(reply::boxed));
        let kubelet = BoxCloneSyncService::new(boxed);
        *self.inner.kubelet.write().unwrap_or_else(PoisonError::into_inner) = Some(kubelet);
    }

    /// The API as a service for one caller, without a socket.
    pub fn service(&self, identity: Identity) -> InProcess {
        InProcess { inner: self.inner.clone(), identity }
    }

    /// A client for one caller, without a socket.
    pub fn client(&self, identity: Identity) -> kube::Client {
        kube::Client::new(self.service(identity), "default")
    }

    /// Ends all watches, and garbage collection with them: clients that watch have no other reason to leave.
    pub fn end_watches(&self) {
        self.inner.stop.cancel();
    }

    /// Ends all watches and garbage collection, and closes the store: another server can open it on
    /// return. What was acknowledged is on disk already.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        let store = self.inner.store.clone();
        // Joining the writer blocks for as long as its last batch takes.
        if let Err(error) = tokio::task::spawn_blocking(move || store.close()).await {
            tracing::error!(%error, "closing the store");
        }
    }

    /// Everything that is stored, at one revision.
    pub fn dump(&self) -> crate::Dump {
        self.inner.store.dump()
    }

    /// The revision of the newest write.
    pub fn revision(&self) -> u64 {
        self.inner.store.revision()
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

/// The API for one caller, in process; see [`ApiServer::service`].
#[derive(Clone)]
pub struct InProcess {
    inner: Arc<Inner>,
    identity: Identity,
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (inner, identity) = (self.inner.clone(), self.identity.clone());
        // A client without a socket does not say what program it is: the owner of its fields is then its user.
        let program = identity.user.rsplit(':').next().unwrap_or_default();
        if let (false, Ok(agent)) = (request.headers().contains_key(USER_AGENT), program.parse()) {
            request.headers_mut().insert(USER_AGENT, agent);
        }
        Box::pin(async move { Ok(inner.answer(identity, request).await) })
    }
}

impl Inner {
    /// What is served now.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The node, once it is there.
    pub fn kubelet(&self) -> Option<Kubelet> {
        self.kubelet.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores a change; if it is one of a definition, serves what it defines before anyone is told.
    pub async fn commit(&self, write: Write) -> Result<Arc<Stored>, CommitError> {
        let definition = &*write.key.resource == crd::ID;
        let stored = self.store.commit(write).await?;
        if definition {
            self.refresh();
        }
        Ok(stored)
    }

    /// Reads all definitions anew; those that have not changed are not compiled again.
    fn refresh(&self) {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::new();
        for object in self.store.list(crd::ID, "").objects {
            let kept = compiled.remove(&object.uid).filter(|(revision, _)| *revision == object.revision);
            let entry = kept.unwrap_or_else(|| (object.revision, crd::resources(&object.value())));
            next.insert(object.uid.clone(), entry);
        }
        let custom = next.values().flat_map(|(_, resources)| resources.iter().cloned()).collect();
        let registry = Arc::new(Registry::new(&self.builtins, custom));
        *compiled = next;
        *self.registry.write().unwrap_or_else(PoisonError::into_inner) = registry;
    }

    /// Fills in the status of a definition that is about to be stored.
    pub fn establish(&self, definition: &mut serde_json::Value) {
        crd::establish(definition, &self.registry());
    }

    async fn ensure_namespace(&self, name: &str) -> Result<(), CommitError> {
        let key = Key::new("namespaces", "", name);
        if self.store.get(&key).is_some() {
            return Ok(());
        }
        let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        if let Some(resource) = self.registry().find("", "v1", "namespaces") {
            strategy::default(resource, &mut object);
            strategy::prepare_create(resource, &mut object);
        }
        object["metadata"]["uid"] = crate::write::uid().into();
        object["metadata"]["creationTimestamp"] = crate::clock::now().into();
        let write = Write { key, expected: Expected::Absent, change: Change::Put(object), guard: None };
        self.commit(write).await.map(drop)
    }

    /// Answers a request of somebody who is known.
    pub async fn answer<B>(self: Arc<Self>, identity: Identity, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let (method, uri, headers) = (parts.method.clone(), parts.uri.clone(), parts.headers.clone());
        let user = identity.user.clone();
        let response = match self.route(identity, parts, body).await {
            Ok(response) => response,
            Err(refusal) => reply::refusal_response(&refusal, &headers),
        };
        tracing::debug!(user, %method, path = uri.path(), code = response.status().as_u16(), "request");
        response
    }

    async fn route<B>(self: Arc<Self>, identity: Identity, parts: request::Parts, body: B) -> Result<Response<Body>>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let identity = rbac::impersonated(&self, identity, &parts.headers)?;
        if let Some(response) = self.about_itself(&parts) {
            return response;
        }
        let bytes = body::read(body, &parts.headers).await?;
        let headers: HeaderMap = parts.headers.clone();
        let call = Call::new(self, identity, &parts, bytes)?;
        Ok(call.answer(&headers).await)
    }

    /// Paths that are no objects. Whoever is known may read them.
    fn about_itself(&self, parts: &request::Parts) -> Option<Result<Response<Body>>> {
        let path = parts.uri.path().trim_end_matches('/');
        let found = match path {
            "/healthz" | "/livez" | "/readyz" => Ok(reply::text_response(200, "ok")),
            "/version" => Ok(reply::json_response(200, reply::bytes(&discovery::version()), &parts.headers)),
            _ => discovery::answer(&self.registry(), path, &parts.headers)?,
        };
        if parts.method != http::Method::GET && parts.method != http::Method::HEAD {
            return Some(Err(Refusal::method_not_allowed()));
        }
        Some(found)
    }
}
