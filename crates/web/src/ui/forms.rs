//! The parts that requests are made of. They need no script: a disclosure, then a button.

use super::layout::csrf;
use crate::sessions::Session;
use maud::{Markup, html};

/// What a form asks for besides its hidden fields.
pub struct Ask<'a> {
    /// Identifies it in the page, so that it stays open when the page changes beneath it.
    pub id: String,
    /// Where it is sent.
    pub path: &'a str,
    /// Sent along.
    pub hidden: &'a [(&'a str, &'a str)],
    /// On the disclosure and on the button.
    pub words: &'a str,
    pub primary: bool,
}

/// A request that is confirmed with a reason.
pub fn ask(session: &Session, ask: &Ask<'_>) -> Markup {
    asking(session, ask, &reason())
}

/// A request with fields of its own.
pub fn asking(session: &Session, ask: &Ask<'_>, fields: &Markup) -> Markup {
    html! {
        details.ask.primary[ask.primary] #(ask.id) {
            summary { (ask.words) "…" }
            form method="post" action=(ask.path) {
                (csrf(session))
                @for (name, value) in ask.hidden { input type="hidden" name=(name) value=(value); }
                (fields)
                button.primary { (ask.words) }
            }
        }
    }
}

pub fn reason() -> Markup {
    html! { label { "Reason " span.quiet { "(optional)" } input name="reason" maxlength="500" autocomplete="off"; } }
}

/// A line of text. `hint` is shown in the empty field.
pub fn line(label: &str, name: &str, hint: &str, required: bool) -> Markup {
    html! {
        label {
            (label) @if !required { " " span.quiet { "(optional)" } }
            input name=(name) maxlength="200" autocomplete="off" placeholder=(hint) required[required];
        }
    }
}

/// One of several. `none` is what it means to choose none, if that may be.
pub fn choice<T: std::fmt::Display>(
    label: &str,
    name: &str,
    none: Option<&str>,
    of: impl IntoIterator<Item = T>,
    chosen: Option<&str>,
) -> Markup {
    html! {
        label {
            (label) " "
            select name=(name) {
                @if let Some(none) = none { option value="" { (none) } }
                @for one in of {
                    @let one = one.to_string();
                    option value=(one) selected[chosen == Some(one.as_str())] { (one) }
                }
            }
        }
    }
}
