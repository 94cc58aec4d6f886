//! Getting and listing.

use crate::call::Call;
use crate::reply::Reply;
use crate::request::Selection;
use crate::status::{Refusal, Result};
use crate::store::{Key, Listing, Past, Stored};
use crate::strategy::rules::forbidden;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

impl Call {
    /// The object that the path names.
    pub fn stored(&self) -> Result<Arc<Stored>> {
        let found = self.server.store.get(&self.key());
        found.ok_or_else(|| Refusal::not_found(&self.resource.names, &self.path.name))
    }

    /// Key of the object that the path names.
    pub fn key(&self) -> Key {
        Key::new(self.resource.id.clone(), self.path.namespace.as_str(), self.path.name.as_str())
    }

    /// `GET` of an object.
    pub fn get(&self) -> Result<Reply> {
        if let Some(asked) = self.query.number("resourceVersion")? {
            self.reached(asked)?;
        }
        Ok(Reply::Stored(200, self.stored()?))
    }

    /// `GET` of a collection.
    pub fn list(&self) -> Result<Reply> {
        let selection = self.selection()?;
        let limit = self.query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or_default();
        let token = self.continuation()?;
        let Listing { objects, revision } = self.listing(token.as_ref())?;
        let mut wanted = objects.into_iter().filter(|object| {
            selection.matches(object)
                && token.as_ref().is_none_or(|token| {
                    (&*object.key.namespace, &*object.key.name) > (token.namespace.as_str(), token.name.as_str())
                })
        });
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        let objects: Vec<_> = wanted.by_ref().take(if limit == 0 { usize::MAX } else { limit }).collect();
        let left = wanted.count();
        if left > 0
            && let Some(last) = objects.last()
        {
            let next =
                Continue { revision, namespace: last.key.namespace.to_string(), name: last.key.name.to_string() };
            metadata["continue"] = next.encode().into();
            if selection.labels.is_empty() && selection.fields.is_empty() {
                metadata["remainingItemCount"] = left.into();
            }
        }
        Ok(Reply::List { objects, metadata })
    }

    /// What the query narrows the collection to.
    pub fn selection(&self) -> Result<Selection> {
        Selection::parse(&self.query, &self.resource.id, &self.resource.gvk.api_version())
    }

    /// 504 if a revision has not been reached yet.
    pub fn reached(&self, asked: u64) -> Result<()> {
        let newest = self.server.store.revision();
        if asked > newest { Err(Refusal::too_new(asked, newest)) } else { Ok(()) }
    }

    fn listing(&self, token: Option<&Continue>) -> Result<Listing> {
        let store = &self.server.store;
        let (resource, namespace) = (&*self.resource.id, self.path.namespace.as_str());
        let asked = self.query.number("resourceVersion")?;
        match (token, asked, self.query.get("resourceVersionMatch")) {
            (Some(token), _, _) => store.list_at(resource, namespace, token.revision).map_err(|_| {
                Refusal::expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.")
            }),
            (None, None, "") | (None, Some(0), "" | "NotOlderThan") => Ok(store.list(resource, namespace)),
            (None, Some(revision), "Exact") if revision > 0 => {
                store.list_at(resource, namespace, revision).map_err(|past| match past {
                    Past::Expired { .. } => Refusal::expired(format!("The resourceVersion for the provided list is too old: {revision}")),
                    Past::Future { newest } => Refusal::too_new(revision, newest),
                })
            }
            (None, Some(revision), "" | "NotOlderThan") => {
                self.reached(revision)?;
                Ok(store.list(resource, namespace))
            }
            (None, None, _) => {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                Err(Refusal::invalid_option("ListOptions", forbidden("resourceVersionMatch", why)))
            }
            (None, _, other) => Err(Refusal::bad_request(format!(
                "resourceVersionMatch: Invalid value: {other:?}: use Exact with a resourceVersion above 0, or NotOlderThan with a resourceVersion"
            ))),
        }
    }

    fn continuation(&self) -> Result<Option<Continue>> {
        match self.query.get("continue") {
            "" => Ok(None),
            text => Continue::decode(text)
                .map(Some)
                .ok_or_else(|| Refusal::bad_request("invalid continue token: continue key is not valid")),
        }
    }
}

/// Where the next page begins, and at which revision.
#[derive(Debug, Serialize, Deserialize)]
struct Continue {
    #[serde(rename = "rv")]
    revision: u64,
    #[serde(rename = "ns", default)]
    namespace: String,
    #[serde(rename = "start")]
    name: String,
}

impl Continue {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("numbers and texts serialise"))
    }

    fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }
}
