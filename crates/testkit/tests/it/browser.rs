//! The browser: sees a page as a person would.

use std::path::PathBuf;
use std::time::Duration;

use testkit::{Browser, until};

const SOON: Duration = Duration::from_secs(10);

fn page(folder: &tempfile::TempDir, body: &str) -> String {
    let path: PathBuf = folder.path().join("page.html");
    std::fs::write(&path, format!("<!doctype html><title>t</title><body>{body}")).unwrap();
    format!("file://{}", path.display())
}

#[tokio::test]
async fn it_shows_what_the_scripts_of_a_page_made_of_it() {
    if !Browser::is_installed() {
        return eprintln!("skipped: no browser");
    }
    let folder = tempfile::tempdir().unwrap();
    let address =
        page(&folder, "<p id=a>no<script>setTimeout(() => a.innerText = 'yes ' + (6 * 7), 30)</script>");
    let mut browser = Browser::start().await;

    browser.open(&address).await;
    browser.until("a.innerText.startsWith('yes')", SOON).await;

    assert_eq!(browser.text().await, "yes 42");
    assert!(browser.html().await.contains("<p id=\"a\">yes 42"));
    assert_eq!(browser.evaluate("Promise.resolve({a: [1]})").await, serde_json::json!({"a": [1]}));
    assert!(browser.screenshot().await.starts_with(b"\x89PNG"));
    assert!(browser.errors().await.is_empty());
}

#[tokio::test]
async fn it_tells_what_went_wrong_in_a_page() {
    if !Browser::is_installed() {
        return eprintln!("skipped: no browser");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut browser = Browser::start().await;

    browser.open(&page(&folder, "<script src=missing.js></script><script>nothing.here</script>")).await;

    let errors = browser.errors().await.join("\n");
    assert!(errors.contains("nothing is not defined"), "{errors}");
    assert!(errors.contains("missing.js"), "{errors}");
}

#[tokio::test]
async fn none_of_its_processes_outlives_it() {
    if !Browser::is_installed() {
        return eprintln!("skipped: no browser");
    }
    let browser = Browser::start().await;
    let mark = browser.mark();
    assert!(processes_with(&mark) > 1, "the browser and its helpers");

    drop(browser);

    until(async || processes_with(&mark) == 0, SOON).await;
}

/// Processes whose environment contains this text: it is handed down to every child.
fn processes_with(text: &str) -> usize {
    let has = |path: PathBuf| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(text)
    };
    std::fs::read_dir("/proc").unwrap().filter(|entry| has(entry.as_ref().unwrap().path())).count()
}
