//! What a service routes to it describes: each handler in its table stands in `paths(…)` of its OpenAPI document.
//!
//! That a description is true, a test of each service shows with `testkit::described_routes`.

use crate::rust::{arguments, calls, code};
use crate::tree::Tree;
use std::collections::BTreeSet;

pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let (mut routed, mut described) = (Vec::new(), BTreeSet::new());
    for file in tree.ending(".rs").filter(|file| file.is_in("services/") && file.path.contains("/src/")) {
        let code = code(&file.text);
        if code.contains(".service(") {
            let handlers = METHODS.iter().flat_map(|method| calls(&code, method));
            let handlers = handlers.flat_map(|call| call.arguments).filter(|argument| is_handler(argument));
            routed.extend(handlers.map(|handler| (file.package(), handler)));
        }
        for (at, _) in code.match_indices("#[openapi(") {
            let parts = arguments(&code[at + "#[openapi(".len()..]);
            let paths = parts.iter().filter_map(|part| part.strip_prefix("paths("));
            described.extend(paths.flat_map(arguments).map(|handler| (file.package(), handler)));
        }
    }
    routed.retain(|route| !described.contains(route));
    routed
        .iter()
        .map(|(package, handler)| format!("{package}: {handler} is a route, and not described"))
        .collect()
}

/// `entries::get`, and no closure, path or number.
fn is_handler(argument: &str) -> bool {
    argument.contains("::") && argument.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_' | b':'))
}

const METHODS: [&str; 6] = [".to(", ".get(", ".post(", ".put(", ".patch(", ".delete("];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_is_not_described_is_reported() {
        let table = "app.service(resource(\"/a\").get(a::show).route(post().to(a::make)));\n";
        let document =
            |paths: &str| format!("{table}#[openapi(info(title = \"a\"), paths({paths}))]\nstruct D;\n");
        let ask = |paths: &str| complaints(&Tree::of(&[("services/a/src/routes.rs", &document(paths))]));

        assert_eq!(ask("a::show"), ["services/a: a::make is a route, and not described"]);
        assert_eq!(ask("a::show, a::make,"), Vec::<String>::new());
    }
}
