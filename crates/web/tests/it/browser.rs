//! What only a browser can tell: layout, contrast, keyboard, liveness.

use crate::cdp::Browser;
use crate::fake::{Site, World};
use model::flow::Health;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const PAGES: [&str; 20] = [
    "/",
    "/p/demo",
    "/p/demo?env=staging&suspended=true",
    "/p/demo/c/shop?env=staging",
    "/p/demo/c/shop?env=prod",
    "/p/demo/b/shop-2",
    "/p/demo/e/dev/diff",
    "/p/demo/history",
    "/p/demo/promotions/staging-shop-1",
    "/p/demo/promotions",
    "/p/demo/e/staging?time=2026-11-21",
    "/p/demo/e/prod",
    "/p/demo/e/staging/removal",
    "/p/demo/changes",
    "/p/demo/changes/1",
    "/p/demo/releases",
    "/p/demo/releases/1.1.0",
    "/p/demo/windows",
    "/p/demo/policies",
    "/p/demo/difference?from=1.0.0&to=1.1.0",
];

/// Texts whose contrast to what is behind them is below 4.5, with the figure.
const PALE: &str = r#"(() => {
  const parse = (text) => {
    const numbers = text.match(/[\d.]+/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return [...numbers.slice(0, 3).map((n) => n * scale), numbers[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((n) => n / 255).map((n) => (n <= 0.03928 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pale = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.nodeValue).join("").trim();
    if (!text || !element.checkVisibility() || element.closest("svg")) continue;
    const back = behind(element);
    const [a, b] = [luminance(over(parse(getComputedStyle(element).color), back)), luminance(back)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) pale.push(`${contrast.toFixed(2)} ${element.localName}.${element.className}: ${text.slice(0, 40)}`);
  }
  return pale;
})()"#;

/// A site that a browser can reach.
struct Open {
    base: String,
    world: Arc<World>,
    link: String,
}

async fn open() -> Open {
    let site = Site::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let link = format!("{base}{}", site.sessions.link("ada"));
    let router = site.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Open { base, world: site.world, link }
}

async fn signed_in() -> (Open, Browser) {
    let (site, mut browser) = (open().await, Browser::start().await);
    browser.viewport(1280, "light").await;
    browser.open(&site.link).await;
    // The script sends the form of the link; without it there is its button.
    browser.until("document.title.startsWith('Projects')").await;
    (site, browser)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: needs chromium"]
async fn no_page_scrolls_sideways_or_is_pale() {
    let (site, mut browser) = signed_in().await;
    let mut wrong = Vec::new();
    for page in PAGES {
        for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
            browser.viewport(width, scheme).await;
            browser.open(&format!("{}{page}", site.base)).await;
            browser.until("document.fonts.status === 'loaded'").await;
            browser.eval("document.querySelectorAll('details').forEach((d) => d.open = true)").await;
            let wide = browser.eval("document.documentElement.scrollWidth").await;
            if wide.as_u64() != Some(width.into()) {
                wrong.push(format!("{page} at {width}: {wide} wide"));
            }
            let pale = browser.eval(PALE).await;
            for text in pale.as_array().into_iter().flatten() {
                wrong.push(format!("{page} at {width} {scheme}: {text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: needs chromium"]
async fn an_action_is_done_by_tab_and_enter() {
    let (site, mut browser) = signed_in().await;
    browser.open(&format!("{}/p/demo", site.base)).await;
    let focused = "document.activeElement.textContent.includes('Promote shop-3 to staging') && document.activeElement.localName === 'summary'";
    let mut seen = Vec::new();
    while browser.eval(focused).await != true {
        browser.key("Tab").await;
        seen.push(browser.eval("document.activeElement.textContent.trim().slice(0, 40)").await);
        assert!(seen.len() < 60, "Tab never reaches the action: {seen:?}");
        // Whatever has the focus shows it.
        let outline = browser.eval("parseFloat(getComputedStyle(document.activeElement).outlineWidth)").await;
        assert!(outline.as_f64() >= Some(2.0), "{:?} has an outline of {outline}", seen.last());
    }
    browser.key("Enter").await;
    browser.until("document.activeElement.parentElement.open").await;
    browser.key("Tab").await;
    browser.write("it is time").await;
    browser.key("Tab").await;
    browser.key("Enter").await;
    browser.until("location.pathname === '/p/demo/promotions/staging-shop-1'").await;
    assert_eq!(site.world.asked(), ["ada promotes shop-3 to staging: it is time"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: needs chromium"]
async fn a_change_is_visible_within_a_second_and_disturbs_nobody() {
    let (site, mut browser) = signed_in().await;
    browser.open(&format!("{}/p/demo", site.base)).await;
    browser.until("document.getElementById('live').textContent === 'Live'").await;
    // Somebody is in the middle of a form.
    let middle = "(() => { const ask = document.getElementById('promote-shop-3-staging'); ask.open = true; \
                   const input = ask.querySelector('input[name=reason]'); input.focus(); input.value = 'half a rea'; })()";
    browser.eval(middle).await;
    let cell = "document.querySelector('td[data-environment=dev] .badge').textContent";
    for (health, word) in
        [(Health::Progressing, "Progressing"), (Health::Degraded, "Degraded"), (Health::Healthy, "Healthy")]
    {
        site.world.becomes(health);
        let took = browser.until(&format!("{cell} === '{word}'")).await;
        assert!(took < Duration::from_secs(1), "{word} was visible after {took:?}");
    }
    let still = "document.activeElement.name + ' ' + document.activeElement.value + ' ' + document.activeElement.closest('details').open";
    assert_eq!(browser.eval(still).await, "reason half a rea true");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: needs chromium"]
async fn everything_that_can_be_used_has_a_name_and_every_page_its_landmarks() {
    let (site, mut browser) = signed_in().await;
    for page in PAGES {
        browser.open(&format!("{}{page}", site.base)).await;
        let tree = browser.call("Accessibility.getFullAXTree", json!({})).await;
        let nodes: Vec<(&str, &str)> = tree["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|node| node["ignored"] != true)
            .map(|node| (text(&node["role"]["value"]), text(&node["name"]["value"])))
            .collect();
        for (role, name) in &nodes {
            let usable = ["link", "button", "textbox", "combobox", "DisclosureTriangle", "columnheader"].contains(role);
            assert!(!usable || !name.trim().is_empty(), "{page}: a {role} without a name");
        }
        for landmark in ["banner", "main", "contentinfo", "heading"] {
            assert!(nodes.iter().any(|(role, _)| *role == landmark), "{page} has no {landmark}: {nodes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: needs chromium"]
async fn pages_work_without_the_script() {
    let (site, mut browser) = (open().await, Browser::start().await);
    browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.open(&site.link).await;
    browser.until("document.activeElement.localName === 'button'").await;
    browser.key("Enter").await;
    browser.until("document.title.startsWith('Projects')").await;
    browser.open(&format!("{}/p/demo/c/shop?env=staging", site.base)).await;
    let log = browser.eval("document.getElementById('log').textContent").await;
    assert_eq!(log, "listening on 8080 <not markup>\n");
    let time = browser.eval("document.querySelector('time').textContent").await;
    assert_eq!(time, "21 Nov 2026, 09:00 UTC");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "root: needs chromium"]
async fn nothing_breaks_the_content_security_policy() {
    let (site, mut browser) = signed_in().await;
    for page in PAGES {
        browser.open(&format!("{}{page}", site.base)).await;
        browser.until("document.getElementById('live').textContent === 'Live'").await;
        // A refused stylesheet or script leaves no rules and no running script behind.
        let rules = browser.eval("[...document.styleSheets].map((sheet) => sheet.cssRules.length)").await;
        assert!(rules.as_array().is_some_and(|rules| rules.len() == 1), "{page}: {rules}");
        let tried = "(() => { const script = document.createElement('script'); script.textContent = 'window.broken = true'; \
                      document.body.append(script); return window.broken === true; })()";
        assert_eq!(browser.eval(tried).await, false, "{page} runs a script that stands in it");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
