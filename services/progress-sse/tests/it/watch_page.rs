//! The live page, in a real browser.

use crate::support::{SOON, Stand};
use serde_json::json;
use testkit::Browser;

#[tokio::test]
async fn the_page_follows_an_operation_with_a_key_typed_in_once() {
    if !Browser::is_installed() {
        return;
    }
    let mut stand = Stand::with(&[("DRAIN_MS", "0")]).await;
    let key = stand.keys.add("reader", &["progress:read"]);
    stand.service.restart().await;
    let id = stand
        .create(json!({"id": "export-7", "title": "Export of project acme", "project": "acme", "steps": [
            {"name": "list"}, {"name": "read", "weight": 3, "total": 1200}, {"name": "pack", "weight": 2},
            {"name": "verify"}, {"name": "publish"}]}))
        .await;
    stand
        .update(
            &id,
            json!([{"step": "list", "state": "completed", "message": "1,200 entries listed"},
        {"step": "read", "current": 480, "message": "reading from the cache"}]),
        )
        .await;
    let mut browser = Browser::start().await;
    browser.open(&format!("{}/watch/{id}", stand.service.base_url())).await;

    browser.until("!document.getElementById('ask').hidden", SOON).await;
    shot(&mut browser, "ask").await;
    browser
        .evaluate(&format!(
            "document.getElementById('key').value = '{key}'; document.querySelector('form').requestSubmit()"
        ))
        .await;
    browser.until("document.getElementById('percent').textContent === '27.5 %'", SOON).await;
    stand.update(&id, json!([{"step": "read", "current": 900}, {"step": "pack", "state": "running", "message": "<b>packing</b>"}])).await;
    browser
        .until("document.querySelectorAll('#steps li')[1].textContent.includes('900 / 1,200')", SOON)
        .await;
    browser.until("document.getElementById('messages').textContent.includes('<b>packing</b>')", SOON).await;
    shot(&mut browser, "live").await;

    stand.service.restart().await;
    browser.until("document.getElementById('state').textContent === 'reconnecting'", SOON).await;
    shot(&mut browser, "reconnecting").await;
    browser.until("document.getElementById('state').textContent === 'running'", SOON).await;
    stand
        .update(
            &id,
            json!([{"step": "read", "state": "completed"}, {"step": "pack", "state": "completed"},
        {"step": "verify", "state": "skipped"}, {"step": "publish", "state": "completed"}]),
        )
        .await;
    stand
        .api
        .json(
            stand.api.post(
                &format!("/v1/operations/{id}/complete"),
                &json!({"message": "published as acme.tar.zst"}),
            ),
        )
        .await;
    browser.until("document.getElementById('state').textContent === 'completed'", SOON).await;
    browser.until("document.getElementById('percent').textContent === '100 %'", SOON).await;
    shot(&mut browser, "completed").await;

    let address = browser.evaluate("location.href").await;
    assert!(!address.as_str().unwrap().contains("sk_"), "the key never comes into an address");
    let steps = browser
        .evaluate("[...document.querySelectorAll('#steps li')].map(row => row.dataset.state).join()")
        .await;
    assert_eq!(steps, "completed,completed,completed,skipped,completed");
}

#[tokio::test]
async fn the_page_says_when_a_key_is_wrong_or_the_operation_is_not_there() {
    if !Browser::is_installed() {
        return;
    }
    let mut stand = Stand::start().await;
    let key = stand.keys.add("reader", &["progress:read"]);
    let other = stand.keys.add("other", &["cache:read@*"]);
    stand.service.restart().await;
    let mut browser = Browser::start().await;
    browser.open(&format!("{}/watch/nobody", stand.service.base_url())).await;
    browser.until("!document.getElementById('ask').hidden", SOON).await;
    let enter = |key: &str| {
        format!(
            "document.getElementById('key').value = '{key}'; document.querySelector('form').requestSubmit()"
        )
    };

    browser.evaluate(&enter("sk_wrong")).await;
    browser.until("document.getElementById('notice').textContent.includes('not valid')", SOON).await;
    assert_eq!(browser.evaluate("sessionStorage.length").await, 0, "and it is not kept");
    browser.evaluate(&enter(&other)).await;
    browser.until("document.getElementById('notice').textContent.includes('progress:read')", SOON).await;
    assert_eq!(browser.evaluate("document.getElementById('state').textContent").await, "key needed");
    browser.evaluate(&enter(&key)).await;
    browser.until("document.getElementById('state').textContent === 'not found'", SOON).await;
}

#[tokio::test]
async fn the_bars_are_as_long_as_they_say() {
    if !Browser::is_installed() {
        return;
    }
    let stand = Stand::start().await;
    let id = stand.create(json!({"steps": [{"name": "read", "weight": 3}, {"name": "pack"}]})).await;
    let mut browser = watching(&stand, &id).await;
    let bars = "[...document.querySelectorAll('.bar')].map(bar => bar.firstElementChild.style.width + ' ' + bar.getAttribute('aria-valuenow')).join()";
    browser.until(&format!("{bars} === '0% 0,0% 0,0% 0'"), SOON).await;

    stand.update(&id, json!([{"step": "read", "percent": 40}])).await;
    browser.until(&format!("{bars} === '30% 30,40% 40,0% 0'"), SOON).await;
    assert_eq!(browser.evaluate("document.title").await, "30 % · Operation");
}

#[tokio::test]
async fn what_a_producer_says_is_text_and_runs_nothing() {
    if !Browser::is_installed() {
        return;
    }
    let stand = Stand::start().await;
    let markup = "<img src=x onerror=alert(1)>";
    let id = stand.create(json!({"title": markup, "steps": [{"name": "a"}]})).await;
    stand.update(&id, json!({"step": "a", "message": markup})).await;
    let mut browser = watching(&stand, &id).await;

    browser.until("document.querySelectorAll('#messages li > span').length === 1", SOON).await;
    stand.update(&id, json!({"step": "a", "message": format!("{markup} again")})).await;
    browser.until("document.querySelectorAll('#messages li > span').length === 2", SOON).await;
    let text =
        "document.getElementById('title').textContent + document.getElementById('messages').textContent";
    assert_eq!(browser.evaluate(text).await.as_str().unwrap().matches(markup).count(), 3);
    assert_eq!(browser.evaluate("document.querySelectorAll('img').length").await, 0);
}

#[tokio::test]
async fn the_page_is_all_that_a_browser_loads_or_runs() {
    if !Browser::is_installed() {
        return;
    }
    let stand = Stand::start().await;
    let id = stand.create(json!({})).await;
    let answer = stand.api.get(&format!("/watch/{id}")).send().await.unwrap();
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(answer.headers()[name], value, "{name}");
    }
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    for rule in ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.split("; ").any(|part| part == rule), "{rule}: {policy}");
    }

    let mut browser = watching(&stand, &id).await;
    browser.until("document.getElementById('state').textContent === 'pending'", SOON).await;
    stand.complete(&id).await;
    browser.until("document.getElementById('state').textContent === 'completed'", SOON).await;
    let loaded = "performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname).join()";
    browser.until(&format!("{loaded} === '/v1/operations/{id}/events'"), SOON).await;
    // 401 is how a reader without a key learns that one is needed.
    let errors = browser.errors().await;
    assert!(errors.iter().all(|error| error.contains("/events") && error.contains("401")), "{errors:?}");

    let foreign = "const script = document.createElement('script'); script.textContent = 'window.ran = 1'; \
                   document.body.append(script); window.ran === undefined";
    assert_eq!(browser.evaluate(foreign).await, true, "a script that is not the page's own");
}

#[tokio::test]
async fn what_happened_while_the_line_was_away_is_shown_once_and_in_order() {
    if !Browser::is_installed() {
        return;
    }
    let mut stand = Stand::with(&[("DRAIN_MS", "0")]).await;
    let id = stand.create(json!({})).await;
    stand.update(&id, json!({"percent": 1, "message": "one"})).await;
    let mut browser = watching(&stand, &id).await;
    browser.until(&format!("{MESSAGES} === 'one'"), SOON).await;

    stand.service.stop().await;
    let elsewhere = stand.another().await;
    for (percent, message) in [(2, "two"), (3, "three")] {
        elsewhere
            .json(elsewhere.post(
                &format!("/v1/operations/{id}/updates"),
                &json!({"percent": percent, "message": message}),
            ))
            .await;
    }
    stand.service.restart().await;

    browser.until("document.getElementById('percent').textContent === '3 %'", SOON).await;
    assert_eq!(browser.evaluate(MESSAGES).await, "one,two,three");
}

#[tokio::test]
async fn an_operation_that_was_begun_anew_meanwhile_is_shown_anew() {
    if !Browser::is_installed() {
        return;
    }
    let mut stand = Stand::with(&[("DRAIN_MS", "0")]).await;
    let id = stand.create(json!({"steps": [{"name": "old"}]})).await;
    let mut browser = watching(&stand, &id).await;
    let steps = "[...document.querySelectorAll('#steps .name')].map(name => name.textContent).join()";
    browser.until(&format!("{steps} === 'old'"), SOON).await;

    stand.service.stop().await;
    let elsewhere = stand.another().await;
    assert_eq!(elsewhere.delete(&format!("/v1/operations/{id}")).send().await.unwrap().status(), 204);
    let anew = json!({"id": id, "steps": [{"name": "new"}]});
    elsewhere.json(elsewhere.post("/v1/operations", &anew)).await;
    stand.service.restart().await;

    browser.until(&format!("{steps} === 'new'"), SOON).await;
    browser.until("document.getElementById('notice').textContent.includes('begun anew')", SOON).await;
}

#[tokio::test]
async fn an_operation_that_is_deleted_is_gone_for_good() {
    if !Browser::is_installed() {
        return;
    }
    let stand = Stand::start().await;
    let id = stand.create(json!({})).await;
    let mut browser = watching(&stand, &id).await;
    browser.until("document.getElementById('state').textContent === 'pending'", SOON).await;

    stand.api.delete(&format!("/v1/operations/{id}")).send().await.unwrap();
    browser.until("document.getElementById('state').textContent === 'gone'", SOON).await;
    browser.until("document.getElementById('notice').textContent.includes('is no more')", SOON).await;
    // Asked once more, it would say that there is no such operation.
    browser.until("performance.getEntriesByType('resource').length === 1", SOON).await;
    assert_eq!(browser.evaluate("document.getElementById('state').textContent").await, "gone");
}

#[tokio::test]
async fn the_end_is_shown_with_its_last_words_to_who_comes_late_and_stays() {
    if !Browser::is_installed() {
        return;
    }
    let mut stand = Stand::with(&[("DRAIN_MS", "0")]).await;
    for (ending, state) in [("complete", "completed"), ("fail", "failed"), ("cancel", "cancelled")] {
        let id = stand.create(json!({})).await;
        let words = json!({"message": "last words"});
        stand.api.json(stand.api.post(&format!("/v1/operations/{id}/{ending}"), &words)).await;
        let mut browser = watching(&stand, &id).await;
        browser.until(&format!("{MESSAGES} === 'last words'"), SOON).await;
        browser.until("performance.getEntriesByType('resource').length === 1", SOON).await;

        stand.service.restart().await;
        let shown = browser.evaluate("document.getElementById('state').textContent").await;
        assert_eq!(shown, state);
        assert_eq!(browser.evaluate("document.title").await, format!("{state} · Operation"));
    }
}

#[tokio::test]
async fn the_page_keeps_the_last_five_hundred_messages() {
    if !Browser::is_installed() {
        return;
    }
    let stand = Stand::start().await;
    let id = stand.create(json!({})).await;
    let mut browser = watching(&stand, &id).await;
    browser.until("document.getElementById('state').textContent === 'pending'", SOON).await;

    for hundred in 0..6 {
        let updates: Vec<_> = (0..100).map(|n| json!({"message": format!("{hundred}{n:02}")})).collect();
        stand.update(&id, updates.into()).await;
    }
    browser.until(&format!("{MESSAGES}.endsWith('599')"), SOON).await;
    assert_eq!(browser.evaluate("document.querySelectorAll('#messages li').length").await, 500);
    assert_eq!(browser.evaluate(&format!("{MESSAGES}.split(',')[0]")).await, "100");
}

#[tokio::test]
async fn a_line_that_is_silent_for_too_long_is_given_up() {
    if !Browser::is_installed() {
        return;
    }
    let stand = Stand::start().await;
    let id = stand.create(json!({})).await;
    // Heartbeats come as ever; to the page they are a hundred times as rare.
    let rare = "const real = setTimeout; window.setTimeout = (work, ms) => real(work, ms / 100)";
    let mut browser = watching_with(rare, &stand, &id).await;
    browser.until("document.getElementById('state').textContent === 'reconnecting'", SOON).await;
    browser.until("document.getElementById('state').textContent === 'pending'", SOON).await;
}

#[tokio::test]
async fn without_scripts_the_page_says_what_else_there_is() {
    if !Browser::is_installed() {
        return;
    }
    let stand = Stand::start().await;
    let mut browser = Browser::start().await;
    browser.without_scripts().await;
    browser.open(&format!("{}/watch/any", stand.service.base_url())).await;
    let text = browser.text().await;
    assert!(text.contains("This page needs JavaScript") && text.contains("curl -N"), "{text}");
}

/// What the messages say, without their times.
const MESSAGES: &str =
    "[...document.querySelectorAll('#messages li > span')].map(words => words.textContent).join()";

/// A page with a key, on its way to the events of an operation. It waits a twentieth as long before it comes back.
async fn watching(stand: &Stand, id: &str) -> Browser {
    let soon_back =
        "const real = setTimeout; window.setTimeout = (work, ms) => real(work, ms > 30000 ? ms : ms / 20)";
    watching_with(soon_back, stand, id).await
}

async fn watching_with(timers: &str, stand: &Stand, id: &str) -> Browser {
    let mut browser = Browser::start().await;
    browser.before_scripts(timers).await;
    browser.open(&format!("{}/watch/{id}", stand.service.base_url())).await;
    browser.until("!document.getElementById('ask').hidden", SOON).await;
    // Whoever comes back in the same tab has typed the key before.
    browser.evaluate(&format!("sessionStorage.setItem('sluice-key', '{}')", stand.key)).await;
    browser.open(&format!("{}/watch/{id}", stand.service.base_url())).await;
    browser
}

/// Keeps a picture for people when `SLUICE_SCREENS` names a folder.
async fn shot(browser: &mut Browser, name: &str) {
    if let Some(folder) = std::env::var_os("SLUICE_SCREENS") {
        browser.until("document.getAnimations().length === 0", SOON).await;
        let folder = std::path::PathBuf::from(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("watch-{name}.png")), browser.screenshot().await).unwrap();
    }
}
