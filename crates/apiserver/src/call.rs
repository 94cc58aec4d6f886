//! One request about objects: who asks for what, and which handler answers.

use crate::admission::{AdmissionRequest, Operation};
use crate::reply::{self, Body, Form, Reply};
use crate::request::{Path, Query, Verb};
use crate::resource::Resource;
use crate::server::{Identity, Inner};
use crate::status::{Refusal, Result};
use crate::strategy::rules::{invalid, too_long};
use crate::table::Include;
use bytes::Bytes;
use http::header::{HeaderMap, USER_AGENT};
use http::{Response, request};
use serde_json::Value;
use std::sync::Arc;

const MANAGER_BYTES_MAX: usize = 128;

/// A request about objects of one resource.
pub struct Call {
    pub server: Arc<Inner>,
    pub identity: Identity,
    pub resource: Arc<Resource>,
    pub path: Path,
    pub query: Query,
    pub verb: Verb,
    /// `Content-Type` without parameters.
    pub media: String,
    pub body: Bytes,
    /// Who owns the fields that this request writes.
    pub manager: String,
    /// To be told in `Warning` headers.
    pub warnings: Vec<String>,
}

impl Call {
    /// Finds the resource, checks rights and shape of the request.
    pub fn new(server: Arc<Inner>, identity: Identity, parts: &request::Parts, body: Bytes) -> Result<Self> {
        let path = Path::parse(parts.uri.path()).ok_or_else(Refusal::no_such_path)?;
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let verb = Verb::of(&parts.method, &path, &query).ok_or_else(Refusal::method_not_allowed)?;
        crate::rbac::authorize_resource(&server, &identity, verb.name(), &path)?;
        let registry = server.registry();
        let resource = registry.find(&path.group, &path.version, &path.resource).cloned();
        let resource = resource.ok_or_else(Refusal::no_such_path)?;
        if !path.subresource.is_empty() && !resource.has(&path.subresource) {
            return Err(Refusal::no_such_path());
        }
        if resource.namespaced == path.namespace.is_empty() {
            // All namespaces at once can be read, and nothing else.
            let across = resource.namespaced && matches!(verb, Verb::List | Verb::Watch) && path.name.is_empty();
            if !across && !resource.review {
                return Err(if resource.namespaced { Refusal::method_not_allowed() } else { Refusal::no_such_path() });
            }
        }
        let manager = manager(verb, &query, &parts.headers)?;
        let media = crate::body::media_type(&parts.headers);
        Ok(Self { server, identity, resource, path, query, verb, media, body, manager, warnings: Vec::new() })
    }

    /// Answers.
    pub async fn answer(mut self, headers: &HeaderMap) -> Response<Body> {
        let answered = match self.verb {
            Verb::Watch => self.watch(headers),
            Verb::Get if self.path.subresource == "log" => self.log().await,
            _ => self.reply(headers).await,
        };
        let mut response = answered.unwrap_or_else(|refusal| reply::refusal_response(&refusal, headers));
        for value in self.warnings.iter().filter_map(|text| reply::warning(text)) {
            response.headers_mut().append(http::header::WARNING, value);
        }
        response
    }

    async fn reply(&mut self, headers: &HeaderMap) -> Result<Response<Body>> {
        let form = Form::accepted(headers)?;
        let reply = self.dispatch().await?;
        let code = reply.code();
        let include = Include::parse(self.query.get("includeObject"));
        Ok(reply::json_response(code, reply.render(&self.resource, form, include), headers))
    }

    async fn dispatch(&mut self) -> Result<Reply> {
        if self.resource.review {
            return match self.verb {
                Verb::Create => crate::review::answer(self),
                _ => Err(Refusal::method_not_allowed()),
            };
        }
        let subresource = self.path.subresource.clone();
        match (self.verb, subresource.as_str()) {
            (Verb::Get, "" | "status") => self.get(),
            (Verb::Get, "scale") => self.get_scale(),
            (Verb::List, "") => self.list(),
            (Verb::Create, "") => self.create().await,
            (Verb::Create, "binding") => self.bind().await,
            (Verb::Create, "eviction") => self.evict().await,
            (Verb::Update, "" | "status") => self.update().await,
            (Verb::Update, "finalize") => self.finalize().await,
            (Verb::Patch, "" | "status") => self.patch().await,
            (Verb::Update | Verb::Patch, "scale") => self.change_scale().await,
            (Verb::Delete, "") => self.delete().await,
            (Verb::DeleteCollection, "") => self.delete_collection().await,
            _ => Err(Refusal::method_not_allowed()),
        }
    }

    /// Refuses the gift of rights that the caller lacks, then asks admission: a denial is 403 with its message.
    pub fn admit(&self, operation: Operation, old: Option<&Value>, new: Option<&Value>) -> Result<()> {
        if let Some(new) = new {
            self.no_escalation(new)?;
        }
        let Some(admission) = &self.server.admission else { return Ok(()) };
        let name = [new, old].into_iter().flatten().map(|object| object::meta(object).name()).find(|n| !n.is_empty());
        let request = AdmissionRequest {
            operation,
            gvk: &self.resource.gvk,
            resource: &self.resource.names,
            subresource: &self.path.subresource,
            namespace: &self.path.namespace,
            name: name.unwrap_or(&self.path.name),
            old,
            new,
            identity: &self.identity,
            dry_run: self.query.dry_run(self.verb)?,
        };
        admission.review(&request).map_err(|denial| Refusal::forbidden(&self.resource.names, request.name, denial))
    }
}

/// `fieldManager`, or what the client calls itself, up to the slash.
fn manager(verb: Verb, query: &Query, headers: &HeaderMap) -> Result<String> {
    let asked = query.get("fieldManager");
    if asked.len() > MANAGER_BYTES_MAX {
        return Err(Refusal::invalid_option(verb.options(), too_long("fieldManager", MANAGER_BYTES_MAX)));
    }
    if asked.chars().any(char::is_control) {
        let error = invalid("fieldManager", &asked.into(), "should only contain printable characters");
        return Err(Refusal::invalid_option(verb.options(), error));
    }
    if !asked.is_empty() {
        return Ok(asked.to_owned());
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(agent.split('/').next().unwrap_or_default().chars().take(MANAGER_BYTES_MAX).collect())
}
