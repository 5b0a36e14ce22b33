//! Which route a request takes: spellings of a path do not choose it.

use crate::support::{Gateway, policy};
use testkit::expect_problem;

#[tokio::test]
async fn no_spelling_of_a_path_passes_by_its_policy() {
    let rules = policy("strict", "[\"ip\"]", 1, "1h")
        + "[[routes]]\nname = \"admin\"\npath = \"/admin\"\nupstream = \"app\"\npolicies = [\"strict\"]\n\
           [[routes]]\nname = \"rest\"\npath = \"/\"\nupstream = \"app\"\n";
    let gateway = Gateway::start(&rules).await;
    let head = gateway.raw("/x/..//%61dmin/./a?b=%2F").await.1;
    assert!(head.starts_with("GET /x/..//%61dmin/./a?b=%2F HTTP/1.1\r\n"), "as it came: {head}");

    for (path, status) in [
        ("/admin", 429),
        ("/%61dmin", 429),
        ("//admin/", 429),
        ("/x/%2e%2e/admin", 429),
        ("/x%2F..%2Fadmin", 400),
        ("/x%5c..%5cadmin", 400),
        ("/admin%00", 400),
        ("/x/..;/admin", 400),
        ("/admin%", 400),
        ("/x/admin", 200),
    ] {
        let (head, _) = gateway.raw(path).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
    }
}

#[tokio::test]
async fn what_no_route_fits_is_not_there() {
    let rules = "[[routes]]\nname = \"a\"\npath = \"/a\"\nhosts = [\"127.0.0.1\"]\nmethods = [\"POST\"]\nupstream = \"app\"\n";
    let gateway = Gateway::start(rules).await;

    expect_problem(gateway.public.get("/a").send().await.unwrap(), 404, None).await;
    let posted = gateway.public.request(reqwest::Method::POST, "/a").send().await.unwrap();
    assert_eq!(posted.status(), 200);
    let elsewhere = gateway.public.request(reqwest::Method::POST, "/a").header("host", "b.example");
    expect_problem(elsewhere.send().await.unwrap(), 404, None).await;
}
