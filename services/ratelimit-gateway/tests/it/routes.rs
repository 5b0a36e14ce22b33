//! Which route a request takes: spellings of a path do not choose it.

use crate::support::{Gateway, of, policy};
use reqwest::Method;
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
        ("/admin;a=b", 429),
        ("/x;/..;a/admin", 400),
        ("//;a/admin;/", 429),
        ("/admin//../x", 400),
        ("/admin/;a/../x", 400),
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

    expect_problem(gateway.public.get("/b").send().await.unwrap(), 404, None).await;
    let posted = gateway.public.request(Method::POST, "/a").send().await.unwrap();
    assert_eq!(posted.status(), 200);
    for method in [Method::POST, Method::GET] {
        let elsewhere = gateway.public.request(method, "/a").header("host", "b.example");
        expect_problem(elsewhere.send().await.unwrap(), 404, None).await;
    }
}

#[tokio::test]
async fn a_path_that_is_there_for_other_methods_says_for_which() {
    let route = |name: &str, path: &str, methods: &str| {
        format!("[[routes]]\nname = \"{name}\"\npath = \"{path}\"\nmethods = {methods}\nupstream = \"app\"\n")
    };
    let rules = route("tasks", "/q/{queue}", "[\"POST\"]")
        + &route("list", "/q", "[\"GET\", \"POST\"]")
        + &route("one", "/q/one", "[\"DELETE\"]")
        + &route("only", "/only", "[\"POST\"]");
    let gateway = Gateway::start(&rules).await;

    for (method, path, allow) in [
        (Method::PUT, "/q", "GET, POST, HEAD"),
        (Method::PUT, "/q/x", "POST, GET, HEAD"),
        (Method::PUT, "/%71//one/../one", "DELETE, POST, GET, HEAD"),
        (Method::OPTIONS, "/q", "GET, POST, HEAD"),
        (Method::HEAD, "/only", "POST"),
    ] {
        let refused = gateway.public.request(method.clone(), path).send().await.unwrap();
        assert_eq!((refused.status().as_u16(), &*of(&refused, "allow")), (405, allow), "{method} {path}");
        if method != Method::HEAD {
            expect_problem(refused, 405, None).await;
        }
    }
    let head = gateway.public.request(Method::HEAD, "/q").send().await.unwrap();
    assert_eq!(head.status(), 200, "who may GET may ask for the head");
    let less_specific = gateway.public.get("/q/one").send().await.unwrap();
    assert_eq!((less_specific.status().as_u16(), of(&less_specific, "allow")), (200, String::new()));
}
