//! What the pages say.

use crate::fake::{COMMIT, HOST, Site, origin};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};

#[tokio::test]
async fn every_page_says_what_it_is_for() {
    let site = Site::new();
    let cookie = site.sign_in().await;
    let short = &COMMIT[..8];
    let cases: [(&str, &[&str]); 24] = [
        (
            "/p/demo/changes",
            &[
                "Ready",
                "Nothing blocks it",
                "Blocked",
                "1 of 2 approvals for prod",
                "Ended",
                "Merged",
                "by olga",
                "three",
            ],
        ),
        (
            "/p/demo/changes/1",
            &[
                "Open",
                "prod: shop-2 → shop-3 &lt;i&gt;now&lt;/i&gt;",
                "it is time",
                "check lint failed: too plain",
                "dev: nothing changes",
                "reviewed",
                "its gates change",
                "office-hours opens at 08:00",
                "policy no-latest: Deployment.apps shop: a tag is no digest",
                "<del>-image: &lt;two&gt;</del>",
                "<ins>+image: three</ins>",
                "line 3",
                "why &lt;b&gt;three&lt;/b&gt;?",
                "trimtab change checkout 1",
                "/p/demo/changes/1/abandon",
            ],
        ),
        ("/p/demo/changes/3", &["/p/demo/changes/3/merge", "Nothing blocks it"]),
        ("/", &["Projects", "href=\"/p/demo\"", "Degraded", "Held", "Suspended"]),
        (
            "/p/demo",
            &[
                "production",
                "shop-3",
                "Healthy",
                "Degraded",
                "Drifted",
                "Third &amp; last",
                "Promote shop-3 to staging",
                "Roll back to shop-1",
                "nothing runs",
                "shop-3 has not been healthy in staging",
                "Held",
                "there is no build shop-9",
                short,
                "Resume",
                "ada",
                "data-events=\"/p/demo/events\"",
            ],
        ),
        (
            "/p/demo/c/shop?env=staging",
            &[
                "shop in staging is explained here",
                "aria-current=\"page\"",
                "0 of 1 ready",
                "CrashLoopBackOff, 4 restarts",
                "port 8080",
                "BackOff",
                "listening on 8080 &lt;not markup&gt;",
                "Pod shop-x exits with 3",
                "data-stream=\"/p/demo/c/shop/log?env=staging\"",
            ],
        ),
        ("/p/demo/c/shop?env=prod", &["It does not run in prod", "Healthy before", "Closed", "Waiting", "Open"]),
        (
            "/p/demo/b/shop-2",
            &[
                "Failed",
                "Dockerfile:3: RUN exits with 2",
                "8.1 s",
                "COPY &lt;public&gt; /srv",
                "href=\"/p/demo/c/shop?env=staging\"",
            ],
        ),
        ("/p/demo/e/dev/diff", &["Configure", "changed by kubectl", "spec.replicas", "<del>", "<ins>", short]),
        ("/p/demo/history", &["staging: shop-2", "dev: shop-3", "&lt;i&gt;because&lt;/i&gt;", "staging-shop-2"]),
        ("/p/demo/history?env=dev", &["dev: shop-3", "value=\"dev\" selected"]),
        (
            "/p/demo/promotions/staging-shop-1",
            &["Waiting", "shop-2 → shop-3", "Friday", COMMIT, "Healthy before", "/promotions/staging-shop-1/cancel"],
        ),
        ("/p/demo/promotions", &["staging-shop-1", "0 of 1 approvals", "Ended", "staging-shop-0", "Succeeded"]),
        (
            "/p/demo/e/staging",
            &[
                "Suspended",
                "Degraded",
                "Promote shop-3 to staging",
                "value=\"1.1.0\"",
                "Undo the last movement",
                "On its way",
                "staging-shop-1",
                "shop → shop-2",
                "/e/staging/removal",
                short,
            ],
        ),
        ("/p/demo/e/prod", &["production", "Held", "there is no build shop-9", "office-hours", "Shut", "0 8 * * 1-4"]),
        ("/p/demo/e/staging?time=2026-11-21", &["What ran at 2026-11-21", "shop-1"]),
        ("/p/demo/e/staging?time=1999", &["Nothing was admitted here before 1999"]),
        ("/p/demo/e/staging/removal", &["Delete staging", "Its name, to be sure", "/e/staging/delete"]),
        ("/p/demo/releases", &["1.1.0", "nowhere yet", "shop-3", "href=\"/p/demo/e/staging\"", "Make a release"]),
        (
            "/p/demo/releases/1.1.0",
            &[
                "v1.1.0",
                "&lt;b&gt;only",
                "#12",
                "difference?from=1.0.0&amp;to=1.1.0",
                "Certify",
                "Promote 1.1.0",
                short,
            ],
        ),
        ("/p/demo/windows", &["office-hours", "a freeze", "Never", "31 February does not come", "Add a window"]),
        (
            "/p/demo/policies",
            &[
                "href=\"/p/demo/policies\"",
                "no-latest-tag",
                "Warns",
                "Images have a fixed tag.",
                "Of Deployment.",
                "1 rule",
                "!image.endsWith",
                "&lt;b&gt;only",
                "demo-dev/shop",
                "Holds",
                "policies/broken.yaml:3:1",
                "no environment",
            ],
        ),
        (
            "/p/demo/difference?from=1.0.0&to=1.1.0",
            &["1.0.0 → 1.1.0", "Eve &lt;script&gt;: faster", "LOG_LEVEL", "spec.replicas", "<del>", "<ins>"],
        ),
        ("/p/demo/difference?from=1.0.0&to=9.9.9", &["there is no release 9.9.9", "value=\"9.9.9\""]),
    ];
    for (path, words) in cases {
        let answer = site.get(path, &cookie).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        for word in words {
            assert!(answer.body.contains(word), "{path} does not say {word:?}: {}", answer.body);
        }
        for markup in ["<script>alert", "<b>only", "<i>because", "Eve <script", "<b>three", "<i>now"] {
            assert!(!answer.body.contains(markup), "{path} lets {markup:?} through");
        }
    }
    assert!(!site.get("/p/demo/history?env=dev", &cookie).await.body.contains("staging: shop-2"));
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let site = Site::new();
    let cookie = site.sign_in().await;
    for (path, status, word) in [
        ("/p/nobody", StatusCode::NOT_FOUND, "there is: demo"),
        ("/p/demo/b/shop-77", StatusCode::NOT_FOUND, "there is no build shop-77"),
        ("/p/demo/c/shop?env=moon", StatusCode::NOT_FOUND, "there is no environment moon"),
        ("/p/demo/e/moon", StatusCode::NOT_FOUND, "there is no environment moon in demo; there is: dev, staging"),
        ("/p/demo/releases/7.0.0", StatusCode::NOT_FOUND, "there is no release 7.0.0"),
        ("/p/demo/releases/latest", StatusCode::BAD_REQUEST, "is not a release version"),
        ("/p/Nonsense!", StatusCode::BAD_REQUEST, "may hold only"),
        ("/assets/other.js", StatusCode::NOT_FOUND, "no asset"),
    ] {
        let answer = site.get(path, &cookie).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body.contains(word), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn an_action_asks_delivery_and_shows_what_came_of_it() {
    let site = Site::new();
    let cookie = site.sign_in().await;
    let csrf = site.get("/p/demo", &cookie).await.csrf();
    let (suspended, resumed) = (
        format!("/p/demo?env=staging&suspended=true&commit={COMMIT}"),
        format!("/p/demo?env=staging&suspended=false&commit={COMMIT}"),
    );
    for (action, fields, shown, asked) in [
        (
            "promote",
            "component=shop&build=shop-3&environment=staging&reason=+it+is+time+",
            "/p/demo/promotions/staging-shop-1",
            "ada promotes shop-3 to staging: it is time",
        ),
        (
            "promote",
            "component=shop&build=&environment=prod",
            "/p/demo/promotions/staging-shop-1",
            "ada promotes  to prod: ",
        ),
        (
            "rollback",
            "component=shop&build=shop-1&environment=staging",
            "/p/demo/promotions/staging-rollback-1",
            "ada rolls staging back to shop-1: ",
        ),
        ("suspend", "environment=staging&suspend=true", &suspended, "ada sets suspend of staging to true"),
        ("suspend", "environment=staging&suspend=false", &resumed, "ada sets suspend of staging to false"),
    ] {
        let answer =
            site.post(&format!("/p/demo/{action}"), &cookie, &origin(), &format!("csrf={csrf}&{fields}")).await;
        assert_eq!((answer.status, answer.header(header::LOCATION)), (StatusCode::SEE_OTHER, shown), "{}", answer.body);
        assert_eq!(site.world.asked().last().map(String::as_str), Some(asked));
        assert_eq!(site.get(shown, &cookie).await.status, StatusCode::OK);
    }
    assert!(site.get(&suspended, &cookie).await.body.contains("staging is suspended, by commit"));
}

#[tokio::test]
async fn what_stands_between_environments_is_changed_here_too() {
    let site = Site::new();
    let cookie = site.sign_in().await;
    let csrf = site.get("/p/demo", &cookie).await.csrf();
    let by_commit = |page: &str| format!("{page}?commit={COMMIT}");
    for (path, fields, shown, asked) in [
        ("promote", "release=1.1.0&environment=prod", "/p/demo/promotions/staging-shop-1", "ada promotes  to prod: "),
        (
            "promotions/staging-shop-1/approve",
            "reason=tested",
            "/p/demo/promotions/staging-shop-1",
            "ada ({Admin}) approves staging-shop-1: tested",
        ),
        (
            "promotions/staging-shop-1/cancel",
            "reason=no",
            "/p/demo/promotions/staging-shop-1",
            "ada cancels staging-shop-1: no",
        ),
        ("releases/1.1.0/certify", "environment=staging", "/p/demo/releases/1.1.0", "ada certifies 1.1.0 in staging"),
        (
            "windows",
            "window=office&kind=allow&schedule=0+8+*+*+1-4&duration=8h&environment=prod",
            &by_commit("/p/demo/windows"),
            "ada adds window office",
        ),
        ("environments", "environment=qa&like=staging&after=dev", &by_commit("/p/demo/e/qa"), "ada makes qa"),
        ("e/staging/delete", "confirm=staging", "/p/demo", "ada deletes staging: true"),
    ] {
        let answer = site.post(&format!("/p/demo/{path}"), &cookie, &origin(), &format!("csrf={csrf}&{fields}")).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}: {}", answer.body);
        assert_eq!(answer.header(header::LOCATION), shown, "{path}");
        assert_eq!(site.world.asked().last().map(String::as_str), Some(asked));
    }
    let before = site.world.asked();
    for (path, fields, status, word) in [
        ("e/staging/delete", "confirm=prod", StatusCode::BAD_REQUEST, "is not staging: nothing was deleted"),
        ("windows", "window=w&duration=soon", StatusCode::BAD_REQUEST, "is not a length of time"),
        ("releases", "release=latest&environment=dev", StatusCode::BAD_REQUEST, "is not a release version"),
        ("releases", "release=1.1.0&environment=dev", StatusCode::CONFLICT, "1.1.0 exists already"),
    ] {
        let answer = site.post(&format!("/p/demo/{path}"), &cookie, &origin(), &format!("csrf={csrf}&{fields}")).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.contains(word), "{path}: {}", answer.body);
    }
    assert_eq!(site.world.asked(), before);
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_the_hash_of_their_content() {
    let site = Site::new();
    let page = site.get("/sign-in", "").await.body;
    for (before, media_type) in [
        ("rel=\"stylesheet\" href=\"", "text/css"),
        ("<script src=\"", "text/javascript"),
        ("rel=\"icon\" href=\"", "image/svg+xml"),
    ] {
        let address = page.split_once(before).unwrap().1.split_once('"').unwrap().0;
        let asset = site.get(address, "").await;
        assert_eq!(asset.status, StatusCode::OK, "{address}");
        assert!(asset.header(header::CONTENT_TYPE).starts_with(media_type));
        assert!(asset.header(header::CACHE_CONTROL).contains("immutable"));
    }
    for foreign in ["http://", "https://", "style=\"", "onclick"] {
        assert!(!page.contains(foreign), "{foreign} stands in {page}");
    }
}

#[tokio::test]
async fn a_change_is_reviewed_without_a_script() {
    let site = Site::new();
    let cookie = site.sign_in().await;
    let page = site.get("/p/demo/changes/3", &cookie).await;
    let csrf = page.csrf();
    let shown = "/p/demo/changes/3";
    for (action, fields, asked) in [
        ("approve", "reason=+fine+", "ada approves Change 3: fine"),
        ("merge", "", "ada merges Change 3"),
        ("abandon", "reason=no", "ada abandons Change 3: no"),
        ("comment", "text=why%0D%0Athree%3F&path=&line=", "ada says of Change 3 None None: why\nthree?"),
        (
            "comment",
            "text=here&path=environments/prod.yaml&line=3",
            "ada says of Change 3 Some(\"environments/prod.yaml\") Some(3): here",
        ),
    ] {
        let path = format!("{shown}/{action}");
        let answer = site.post(&path, &cookie, &origin(), &format!("csrf={csrf}&{fields}")).await;
        assert_eq!((answer.status, answer.header(header::LOCATION)), (StatusCode::SEE_OTHER, shown), "{}", answer.body);
        assert_eq!(site.world.asked().last().map(String::as_str), Some(asked));
    }
    let wrong = format!("csrf={csrf}&text=x&path=a&line=three");
    let answer = site.post("/p/demo/changes/3/comment", &cookie, &origin(), &wrong).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    // Nobody is offered what they may not do.
    let olga = site.sign_in_as("vera").await;
    let page = site.get("/p/demo/changes/3", &olga).await.body;
    for action in ["approve", "merge", "abandon", "comment"] {
        assert!(!page.contains(&format!("/p/demo/changes/3/{action}\"")), "{action} is offered");
    }
    assert_eq!(site.get("/p/demo/changes/9", &cookie).await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.get("/p/demo/changes/x", &cookie).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_reviewed_becomes_a_change_and_its_page_is_shown() {
    let site = Site::new();
    let cookie = site.sign_in().await;
    let csrf = site.get("/p/demo", &cookie).await.csrf();
    let form = format!("csrf={csrf}&component=shop&build=shop-3&environment=region-1");
    let answer = site.post("/p/demo/promote", &cookie, &origin(), &form).await;
    assert_eq!((answer.status, answer.header(header::LOCATION)), (StatusCode::SEE_OTHER, "/p/demo/changes/1"));
    let request = axum::http::Request::post("/api/v1/projects/demo/promotions")
        .header(header::AUTHORIZATION, format!("Bearer {}", crate::fake::TOKEN))
        .body(axum::body::Body::from(r#"{"component":"shop","to":"region-1"}"#));
    let answer = site.send(request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(answer.body.contains("\"number\":1"), "{}", answer.body);
}

#[tokio::test]
async fn a_page_that_is_as_it_was_is_not_sent_again() {
    let site = Site::new();
    let cookie = site.sign_in().await;
    let look = async |known: &str| {
        let request = Request::get("/p/demo").header(header::HOST, HOST).header(header::COOKIE, &cookie);
        site.send(request.header(header::IF_NONE_MATCH, known).body(Body::empty()).unwrap()).await
    };
    let first = site.get("/p/demo", &cookie).await;
    let tag = first.header(header::ETAG).to_owned();
    let again = look(&tag).await;
    assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    site.world.status.lock().unwrap().environments[0].suspended ^= true;
    let other = look(&tag).await;
    assert_eq!(other.status, StatusCode::OK);
    assert_ne!(other.header(header::ETAG), tag);
    // Of somebody else's session it is another page: forms carry its token.
    let bob = site.get("/p/demo", &site.sign_in_as("ada").await).await;
    assert_ne!(bob.header(header::ETAG), other.header(header::ETAG));
}
