//! Coming and going.

use super::layout::Page;
use super::{Refusal, Result, Ui, secret, shown};
use crate::sessions::Session;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Code {
    #[serde(default)]
    code: String,
}

/// `GET /sign-in?code=…`: a form that sends the code back. Looking at a link does not use it up.
pub async fn form(Query(Code { code }): Query<Code>) -> Response {
    if code.is_empty() {
        return signed_out().into_response();
    }
    let main = html! {
        div.narrow {
            h1 { "Sign in" }
            form method="post" action="/sign-in" data-submit {
                input type="hidden" name="code" value=(code);
                button.primary autofocus { "Sign in to Trimtab" }
            }
        }
    };
    shown(page("Sign in").render(main)).into_response()
}

/// `POST /sign-in`: uses the code up.
pub async fn redeem(State(ui): State<Ui>, Form(Code { code }): Form<Code>) -> Response {
    match ui.sessions.redeem(&code) {
        Some(secret) => {
            let cookie = format!("{}={secret}; Path=/; HttpOnly; SameSite=Strict", ui.sessions.cookie());
            ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
        }
        None => (
            StatusCode::UNAUTHORIZED,
            shown(page("Sign in").render(how("This link was used already, or is older than 15 minutes."))),
        )
            .into_response(),
    }
}

/// `POST /sign-out`.
pub async fn sign_out(
    State(ui): State<Ui>,
    session: Session,
    headers: HeaderMap,
    Form(form): Form<Csrf>,
) -> Result<Response> {
    if !session.sent(&form.csrf) {
        return Err(Refusal::Csrf);
    }
    if let Some(secret) = secret(&headers, &ui.sessions) {
        ui.sessions.end(secret);
    }
    let cookie = format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", ui.sessions.cookie());
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/sign-in")).into_response())
}

#[derive(Deserialize)]
pub struct Csrf {
    #[serde(default)]
    csrf: String,
}

/// What somebody sees who is not signed in.
pub fn signed_out() -> impl IntoResponse {
    (StatusCode::UNAUTHORIZED, shown(page("Sign in").render(how("You are not signed in."))))
}

fn page(title: &str) -> Page<'static> {
    Page { title: title.into(), session: None, crumbs: Vec::new(), events: None, project: None }
}

fn how(why: &str) -> Markup {
    html! {
        div.narrow {
            h1 { "Sign in" }
            p { (why) " On the machine where Trimtab runs, this prints a link that signs you in once:" }
            pre.command { "trimtab ui" }
        }
    }
}
