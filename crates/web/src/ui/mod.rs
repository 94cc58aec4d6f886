//! The pages: rendered here from values, current by server-sent events, usable without the script.

mod actions;
mod assets;
mod board;
mod build;
mod change;
mod changes;
mod component;
mod course;
mod diff;
mod difference;
mod environment;
mod forms;
mod history;
mod layout;
mod live;
mod overview;
mod policies;
mod project;
mod promotion;
mod promotions;
mod releases;
mod resources;
mod reviewing;
mod sign_in;
mod viewer;
mod windows;
mod words;

use crate::people::reads;
use crate::service::{Delivery, Error, People};
use crate::sessions::{Session, Sessions};
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use layout::Page;
use maud::{Markup, html};
use model::people::Person;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

/// What the pages need.
#[derive(Clone)]
struct Ui {
    delivery: Arc<dyn Delivery>,
    people: Arc<dyn People>,
    sessions: Arc<Sessions>,
}

/// Bytes of a form; the longest holds a reason.
const FORM_BYTES_MAX: usize = 16 * 1024;

/// All pages.
pub fn router(delivery: Arc<dyn Delivery>, people: Arc<dyn People>, sessions: Arc<Sessions>) -> Router {
    Router::new()
        .route("/", get(overview::handle))
        .route("/events", get(live::all))
        .route("/p/{project}", get(project::handle))
        .route("/p/{project}/events", get(live::project))
        .route("/p/{project}/history", get(history::handle))
        .route("/p/{project}/c/{component}", get(component::handle))
        .route("/p/{project}/c/{component}/log", get(live::component_log))
        .route("/p/{project}/b/{build}", get(build::handle))
        .route("/p/{project}/b/{build}/log", get(live::build_log))
        .route("/p/{project}/e/{environment}/diff", get(diff::handle))
        .route("/p/{project}/e/{environment}", get(environment::handle))
        .route("/p/{project}/e/{environment}/removal", get(environment::removal))
        .route("/p/{project}/e/{environment}/delete", post(course::delete_environment))
        .route("/p/{project}/environments", post(course::create_environment))
        .route("/p/{project}/promotions", get(promotions::handle))
        .route("/p/{project}/promotions/{name}", get(promotion::handle))
        .route("/p/{project}/promotions/{name}/approve", post(course::approve))
        .route("/p/{project}/promotions/{name}/cancel", post(course::cancel))
        .route("/p/{project}/releases", get(releases::handle).post(course::create_release))
        .route("/p/{project}/releases/{version}", get(releases::one))
        .route("/p/{project}/releases/{version}/certify", post(course::certify))
        .route("/p/{project}/windows", get(windows::handle).post(course::add_window))
        .route("/p/{project}/policies", get(policies::handle))
        .route("/p/{project}/difference", get(difference::handle))
        .route("/p/{project}/changes", get(changes::handle))
        .route("/p/{project}/changes/{number}", get(change::handle))
        .route("/p/{project}/changes/{number}/approve", post(reviewing::approve))
        .route("/p/{project}/changes/{number}/merge", post(reviewing::merge))
        .route("/p/{project}/changes/{number}/abandon", post(reviewing::abandon))
        .route("/p/{project}/changes/{number}/comment", post(reviewing::comment))
        .route("/p/{project}/promote", post(actions::promote))
        .route("/p/{project}/rollback", post(actions::rollback))
        .route("/p/{project}/suspend", post(actions::suspend))
        .route("/sign-in", get(sign_in::form).post(sign_in::redeem))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/assets/{file}", get(assets::serve))
        .route_layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .route_layer(middleware::from_fn(protect))
        .with_state(Ui { delivery, people, sessions })
}

/// Nothing but our own script, stylesheet and pictures; no other site may frame a page, post to it, or learn its address.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

async fn protect(request: Request, next: Next) -> Response {
    let reads = request.method().is_safe();
    if !reads && !same_origin(request.headers()) {
        return Refusal::CrossOrigin.into_response();
    }
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let mut response = next.run(request).await;
    if known.is_some() && known.as_ref() == response.headers().get(header::ETAG) && response.status() == StatusCode::OK
    {
        // Whoever looks has it already: nothing is sent, parsed and compared again.
        (*response.status_mut(), *response.body_mut()) = (StatusCode::NOT_MODIFIED, Body::empty());
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: with that, browsers send `Origin: null` from our own forms.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// True if the request comes from one of our own pages. Browsers send `Origin` with every POST; what sends neither it
/// nor `Sec-Fetch-Site` is no browser that we know.
fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text(header::ORIGIN) {
        Some(origin) => {
            let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            authority.is_some() && authority == text(header::HOST)
        }
        None => text(header::HeaderName::from_static("sec-fetch-site")) == Some("same-origin"),
    }
}

/// Why there is no page.
enum Refusal {
    /// Nobody is signed in.
    SignedOut,
    /// Another site sent the form.
    CrossOrigin,
    /// The form is not of this session.
    Csrf,
    /// Delivery says no.
    Service(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Service(error)
    }
}

type Result<T> = std::result::Result<T, Refusal>;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, title, text) = match self {
            Self::SignedOut => return sign_in::signed_out().into_response(),
            Self::Service(Error::Opened(opened)) => {
                return Redirect::to(&layout::change_path(&opened.project, opened.number)).into_response();
            }
            Self::CrossOrigin => (
                StatusCode::FORBIDDEN,
                "Refused",
                "This request was sent by another site. Nothing was done.".to_owned(),
            ),
            Self::Csrf => (
                StatusCode::FORBIDDEN,
                "Refused",
                "This form belongs to a session that has ended. Nothing was done: go back, reload the page, and try again."
                    .to_owned(),
            ),
            Self::Service(error) => match &error {
                Error::NotFound(_) => (StatusCode::NOT_FOUND, "Not found", error.to_string()),
                Error::Invalid(_) => (StatusCode::BAD_REQUEST, "That makes no sense", error.to_string()),
                Error::Refused(_) => (StatusCode::CONFLICT, "Refused", error.to_string()),
                Error::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "No answer", error.to_string()),
                Error::Denied(_) => (StatusCode::FORBIDDEN, "Not allowed", error.to_string()),
                Error::Opened(_) => unreachable!("it is a page of its own"),
            },
        };
        let main = html! {
            div.narrow {
                h1 { (title) }
                p.pre { (text) }
                p { a href="/" { "All projects" } }
            }
        };
        let page = Page { title: title.into(), session: None, crumbs: Vec::new(), events: None, project: None };
        (code, shown(page.render(main))).into_response()
    }
}

/// A page as an answer, with a tag that is another when anything on it is.
fn shown(markup: Markup) -> impl IntoResponse {
    /// Of this process: nobody can make two pages that look alike by it.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let page = markup.into_string();
    let tag = format!("\"{:016x}\"", KEYS.hash_one(&page));
    ([(header::ETAG, tag)], Html(page))
}

/// A name out of a path or a form.
fn name<T: std::str::FromStr<Err = model::names::NameError>>(text: &str) -> Result<T> {
    text.parse().map_err(|error: model::names::NameError| Refusal::Service(Error::Invalid(error.to_string())))
}

/// The secret in the session cookie.
fn secret<'a>(headers: &'a HeaderMap, sessions: &Sessions) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == sessions.cookie()).map(|(_, value)| value)
}

/// Whoever is signed in; if the path is that of a project, it is one that they may read.
impl FromRequestParts<Ui> for Session {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, ui: &Ui) -> Result<Self> {
        let session = secret(&parts.headers, &ui.sessions).and_then(|secret| ui.sessions.session(secret));
        let session = session.ok_or(Refusal::SignedOut)?;
        reads(&ui.person(&session)?, parts.uri.path(), "/p/")?;
        Ok(session)
    }
}

impl Ui {
    /// With the rights that they have now: somebody who was removed is signed out.
    fn person(&self, session: &Session) -> Result<Person> {
        self.people.person(&session.actor).ok_or(Refusal::SignedOut)
    }
}
