//! Who may do what, through the API and through the pages.

use crate::fake::{Site, TOKEN, origin};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};

const WINDOW: &str = r#"{"window":{"name":"days","schedule":"0 8 * * *","duration":"9h"}}"#;

/// Method, path and body, and who of vera (viewer), dora (developer), olga (operator), olga with a token that only
/// reads, a stranger, abel (approver), and the administrator may ask for that.
const REQUESTS: [(&str, &str, &str, &str); 42] = [
    ("GET", "/projects/demo/status", "", "yyyy.yy"),
    ("GET", "/projects/demo/history", "", "yyyy.yy"),
    ("GET", "/projects/demo/logs?component=shop&env=dev", "", "yyyy.yy"),
    ("GET", "/projects/other/status", "", "......y"),
    ("POST", "/projects/demo/promotions", r#"{"component":"shop","to":"staging"}"#, ".yy...y"),
    ("POST", "/projects/demo/promotions", r#"{"component":"shop","to":"prod"}"#, "..y...y"),
    ("POST", "/projects/demo/promotions", r#"{"component":"shop","to":"nowhere"}"#, ".yy...y"),
    ("POST", "/projects/other/promotions", r#"{"component":"shop","to":"dev"}"#, "......y"),
    ("POST", "/projects/demo/rollbacks", r#"{"environment":"dev"}"#, ".yy...y"),
    ("POST", "/projects/demo/rollbacks", r#"{"environment":"prod"}"#, "..y...y"),
    ("POST", "/projects/demo/promotions", r#"{"component":"shop","to":"dev","override":"fire"}"#, "..y...y"),
    ("POST", "/projects/demo/promotions/staging-shop-1/approvals", "{}", ".....yy"),
    ("POST", "/projects/demo/promotions/staging-shop-1/cancel", "{}", ".yy...y"),
    ("POST", "/projects/demo/checks", r#"{"check":"e2e","env":"staging","passed":true}"#, ".yy...y"),
    ("POST", "/projects/demo/checks", r#"{"check":"e2e","env":"prod","passed":true}"#, "..y...y"),
    ("POST", "/projects/demo/releases", r#"{"version":"1.0.0","from":"dev"}"#, "..y...y"),
    ("POST", "/projects/demo/components/shop/chart", "{}", "..y...y"),
    ("POST", "/projects/demo/releases/1.0.0/certificates", r#"{"env":"dev"}"#, ".....yy"),
    ("POST", "/projects/demo/environments", r#"{"name":"qa"}"#, "..y...y"),
    ("POST", "/projects/demo/environments", r#"{"name":"qa","ownRepo":true}"#, "......y"),
    ("POST", "/projects/demo/environments/dev/suspend", r#"{"suspend":true}"#, "..y...y"),
    ("POST", "/projects/demo/environments/dev/removal", "{}", "..y...y"),
    ("GET", "/projects/demo/releases", "", "yyyy.yy"),
    ("GET", "/projects/demo/windows", "", "yyyy.yy"),
    ("POST", "/projects/demo/windows", WINDOW, "......y"),
    ("GET", "/projects/demo/changes", "", "yyyy.yy"),
    ("GET", "/projects/demo/changes/1", "", "yyyy.yy"),
    ("POST", "/projects/demo/changes/1/comments", r#"{"text":"why?"}"#, ".yy..yy"),
    ("POST", "/projects/demo/changes/1/approvals", "{}", ".....yy"),
    ("POST", "/projects/demo/changes/1/checks", r#"{"check":"lint","state":"Passed"}"#, "..y...y"),
    ("POST", "/projects/demo/changes/1/merge", "{}", ".yy..yy"),
    ("POST", "/projects/demo/changes/1/abandon", "{}", ".yy..yy"),
    ("POST", "/projects", r#"{"project":"demo","component":"api"}"#, ".yy...y"),
    ("POST", "/projects", r#"{"project":"fresh","component":"api"}"#, "......y"),
    ("POST", "/images", "", "......y"),
    ("GET", "/users", "", "......y"),
    ("POST", "/users", r#"{"name":"eve"}"#, "......y"),
    ("DELETE", "/users/vera", "", "......y"),
    ("GET", "/users/olga/keys", "", "..y...y"),
    ("POST", "/users/vera/keys", r#"{"key":"x"}"#, "y.....y"),
    ("POST", "/users/me/tokens", r#"{"expiresInSeconds":60}"#, "yyy.yyy"),
    ("POST", "/sign-in-links", r#"{"user":"olga"}"#, "..y...y"),
];

#[tokio::test]
async fn each_request_is_for_those_who_have_the_right() {
    let site = Site::new();
    for (method, path, body, answers) in REQUESTS {
        let mut given = String::new();
        for token in ["vera", "dora", "olga", "reading", "stranger", "abel", TOKEN] {
            let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
            let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            let answer = site.send(request.body(Body::from(body)).unwrap()).await;
            assert!(answer.status != StatusCode::UNAUTHORIZED, "{token}: {}", answer.body);
            let denied = answer.status == StatusCode::FORBIDDEN;
            if denied {
                let words = ["is missing", "trimtab user add", "--read-only"].map(|words| answer.body.contains(words));
                assert!(words[0] && (words[1] || words[2]), "{method} {path} by {token}: {}", answer.body);
            }
            given.push(if denied { '.' } else { 'y' });
        }
        assert_eq!(given, answers, "{method} {path} {body}");
    }
}

#[tokio::test]
async fn a_list_of_projects_holds_those_that_one_may_read() {
    let site = Site::new();
    for (token, expected) in [("vera", r#"["demo"]"#), ("stranger", "[]")] {
        let request = Request::get("/api/v1/projects").header(header::AUTHORIZATION, format!("Bearer {token}"));
        assert_eq!(site.send(request.body(Body::empty()).unwrap()).await.body, expected, "{token}");
    }
}

#[tokio::test]
async fn pages_show_and_do_what_their_visitor_may() {
    let site = Site::new();
    let (vera, dora, stranger) =
        (site.sign_in_as("vera").await, site.sign_in_as("dora").await, site.sign_in_as("stranger").await);
    assert_eq!(site.get("/p/demo", &vera).await.status, StatusCode::OK);
    for page in ["/p/demo", "/p/demo/events", "/p/demo/b/shop-3/log"] {
        assert_eq!(site.get(page, &stranger).await.status, StatusCode::FORBIDDEN, "{page}");
    }
    let overview = site.get("/", &stranger).await;
    assert!(overview.status == StatusCode::OK && !overview.body.contains("demo"), "{}", overview.body);

    for (cookie, action, environment, good) in [
        (&vera, "promote", "staging", false),
        (&dora, "promote", "staging", true),
        (&dora, "promote", "prod", false),
        (&dora, "rollback", "dev", true),
        (&dora, "rollback", "prod", false),
        (&dora, "suspend", "dev", false),
    ] {
        let csrf = site.get("/p/demo", cookie).await.csrf();
        let before = site.world.asked().len();
        let form = format!("csrf={csrf}&component=shop&environment={environment}&suspend=true");
        let answer = site.post(&format!("/p/demo/{action}"), cookie, &origin(), &form).await;
        let expected = if good { StatusCode::SEE_OTHER } else { StatusCode::FORBIDDEN };
        assert_eq!(answer.status, expected, "{action} {environment}: {}", answer.body);
        assert_eq!(site.world.asked().len(), before + usize::from(good), "{action} {environment}");
        assert!(good || answer.body.contains("is missing"), "{}", answer.body);
    }
    assert!(site.world.asked().iter().all(|asked| asked.starts_with("dora ")), "{:?}", site.world.asked());
}

#[tokio::test]
async fn nobody_is_offered_what_they_may_not_do() {
    let site = Site::new();
    let pages = ["/p/demo", "/p/demo/c/shop?env=staging", "/p/demo/e/staging", "/p/demo/e/prod"];
    let more = ["/p/demo/releases", "/p/demo/releases/1.1.0", "/p/demo/windows", "/p/demo/promotions/staging-shop-1"];
    // A form for everything that somebody may do, besides signing out.
    for (token, words) in [
        ("vera", &[][..]),
        ("dora", &["/p/demo/promote", "/p/demo/rollback"]),
        ("olga", &["/p/demo/promote", "/p/demo/rollback", "/p/demo/suspend"]),
        ("abel", &["/releases/1.1.0/certify"]),
    ] {
        let cookie = site.sign_in_as(token).await;
        let mut offered = std::collections::BTreeSet::new();
        for page in pages.iter().chain(&more) {
            let body = site.get(page, &cookie).await.body;
            offered.extend(body.split("action=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
        for word in words {
            assert!(offered.iter().any(|path| path.ends_with(word)), "{token} is not offered {word}: {offered:?}");
        }
        for path in &offered {
            let csrf = site.get("/p/demo", &cookie).await.csrf();
            let form = format!("csrf={csrf}&component=shop&environment=staging&release=2.0.0&window=w&confirm=staging");
            let answer = site.post(path, &cookie, &origin(), &form).await;
            assert_ne!(answer.status, StatusCode::FORBIDDEN, "{token} was offered {path}: {}", answer.body);
        }
        assert_eq!(
            words.is_empty(),
            offered.iter().all(|path| path == "/sign-out" || path.starts_with("/p/demo/e/")),
            "{token}: {offered:?}"
        );
    }
}

#[tokio::test]
async fn who_was_removed_is_signed_out() {
    let site = Site::new();
    let gone = site.sign_in_as("gone").await;
    for page in ["/", "/p/demo", "/events"] {
        assert_eq!(site.get(page, &gone).await.status, StatusCode::UNAUTHORIZED, "{page}");
    }
}
