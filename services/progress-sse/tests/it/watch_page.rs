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
    browser.evaluate(&enter(&key)).await;
    browser.until("document.getElementById('state').textContent === 'not found'", SOON).await;
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
