//! Who gets in, and whose forms are taken.

use crate::fake::{HOST, Site, TOKEN, origin};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};

const PAGES: [&str; 12] = [
    "/",
    "/events",
    "/p/demo",
    "/p/demo/events",
    "/p/demo/history",
    "/p/demo/c/shop",
    "/p/demo/c/shop/log?env=dev",
    "/p/demo/b/shop-3",
    "/p/demo/b/shop-3/log",
    "/p/demo/e/dev/diff",
    "/p/demo/promotions/staging-shop-1",
    "/p/nobody",
];

#[tokio::test]
async fn nothing_is_shown_to_who_is_not_signed_in() {
    let site = Site::new();
    for cookie in ["", "trimtab-test=", "trimtab-test=0000", "trimtab-other=0000"] {
        for page in PAGES {
            let answer = site.get(page, cookie).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{page} with {cookie:?}");
            assert!(answer.body.contains("trimtab ui") && !answer.body.contains("shop-3"), "{}", answer.body);
        }
    }
    let answer = site.post("/p/demo/promote", "", &origin(), "component=shop&environment=staging").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(site.world.asked().is_empty());
}

#[tokio::test]
async fn a_link_signs_in_once_and_looking_at_it_does_not_use_it_up() {
    let site = Site::new();
    let link = site.sessions.link("ada");
    let code = link.strip_prefix("/sign-in?").unwrap();
    let looked = site.get(&link, "").await;
    assert!(looked.body.contains("Sign in to Trimtab") && looked.header(header::SET_COOKIE).is_empty());
    let first = site.post("/sign-in", "", &origin(), code).await;
    assert_eq!((first.status, first.header(header::LOCATION)), (StatusCode::SEE_OTHER, "/"));
    let cookie = first.header(header::SET_COOKIE);
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let second = site.post("/sign-in", "", &origin(), code).await;
    assert_eq!(second.status, StatusCode::UNAUTHORIZED);
    assert!(second.body.contains("used already") && second.header(header::SET_COOKIE).is_empty());
    let wrong = site.post("/sign-in", "", &origin(), "code=0000").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_form_needs_the_sessions_own_token_and_origin() {
    let site = Site::new();
    let (ada, other) = (site.sign_in().await, site.sign_in().await);
    let csrf = site.get("/p/demo", &ada).await.csrf();
    let foreign = site.get("/p/demo", &other).await.csrf();
    let form = |csrf: &str| format!("csrf={csrf}&component=shop&environment=staging&build=shop-3&suspend=true");
    for action in ["promote", "rollback", "suspend"] {
        let path = format!("/p/demo/{action}");
        for (origin, csrf) in [
            (origin().as_str(), ""),
            (&origin(), "0000"),
            (&origin(), &foreign),
            ("http://evil.example", &csrf),
            ("null", &csrf),
            ("", &csrf),
            ("http://127.0.0.1:7180", &csrf),
            (HOST, &csrf),
        ] {
            let answer = site.post(&path, &ada, origin, &form(csrf)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{action} from {origin:?} with {csrf:?}");
        }
        let no_origin = Request::post(&path).header(header::HOST, HOST).header(header::COOKIE, &ada);
        let no_origin = no_origin.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = site.send(no_origin.body(Body::from(form(&csrf))).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{action} without an origin");
    }
    assert!(site.world.asked().is_empty(), "{:?}", site.world.asked());
    let answer = site.post("/p/demo/suspend", &ada, &origin(), &form(&csrf)).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(site.world.asked(), ["ada sets suspend of staging to true"]);
}

#[tokio::test]
async fn after_sign_out_the_cookie_is_worth_nothing() {
    let site = Site::new();
    let cookie = site.sign_in().await;
    let csrf = site.get("/", &cookie).await.csrf();
    assert_eq!(site.post("/sign-out", &cookie, &origin(), "csrf=no").await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.get("/", &cookie).await.status, StatusCode::OK);
    assert_eq!(site.post("/sign-out", &cookie, &origin(), &format!("csrf={csrf}")).await.status, StatusCode::SEE_OTHER);
    assert_eq!(site.get("/", &cookie).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_is_no_token_and_a_token_is_no_session() {
    let site = Site::new();
    let cookie = site.sign_in().await;
    assert_eq!(site.get("/api/v1/projects", &cookie).await.status, StatusCode::UNAUTHORIZED);
    let bearer = |path: &str, method: &str| {
        let request =
            Request::builder().method(method).uri(path).header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        request.body(Body::empty()).unwrap()
    };
    assert_eq!(site.send(bearer("/p/demo", "GET")).await.status, StatusCode::UNAUTHORIZED);
    let link = site.send(bearer("/api/v1/sign-in-links", "POST")).await;
    assert!(link.body.contains("/sign-in?code="), "{}", link.body);
    let nobody = Request::post("/api/v1/sign-in-links").body(Body::empty()).unwrap();
    assert_eq!(site.send(nobody).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn every_answer_forbids_what_a_page_does_not_need() {
    let site = Site::new();
    let cookie = site.sign_in().await;
    for (path, cookie) in [("/p/demo", cookie.as_str()), ("/p/demo", ""), ("/p/nobody", &cookie), ("/sign-in", "")] {
        let answer = site.get(path, cookie).await;
        let policy = answer.header(header::CONTENT_SECURITY_POLICY);
        for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header(header::CACHE_CONTROL), "no-store", "{path}");
        assert_eq!(answer.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
    }
}

#[tokio::test]
async fn a_form_is_bounded_and_must_make_sense() {
    let site = Site::new();
    let cookie = site.sign_in().await;
    let csrf = site.get("/p/demo", &cookie).await.csrf();
    for form in [
        format!("csrf={csrf}&component=shop&environment=Nonsense!"),
        format!("csrf={csrf}&component=&environment=staging"),
        format!("csrf={csrf}&component=shop&environment=staging&build=7"),
        format!("csrf={csrf}&component=shop&environment=staging&reason={}", "x".repeat(20_000)),
    ] {
        let answer = site.post("/p/demo/promote", &cookie, &origin(), &form).await;
        assert!(answer.status.is_client_error(), "{}: {}", answer.status, answer.body);
    }
    assert!(site.world.asked().is_empty());
}
