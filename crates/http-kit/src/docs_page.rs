//! `/docs`: an OpenAPI document as one page without a script, a font or a picture from anywhere.

use crate::openapi::METHODS;
use serde_json::Value;
use std::fmt::{self, Display, Write};

/// Renders the page. Cost: once, at the start.
pub(crate) fn render(document: &Value) -> String {
    let mut page = String::with_capacity(64 * 1024);
    write_page(&mut page, document).expect("a String takes all");
    page
}

fn write_page(page: &mut String, document: &Value) -> fmt::Result {
    let info = &document["info"];
    let title = Text(&info["title"]);
    write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
    )?;
    write!(
        page,
        "<h1>{title} <small>{}</small></h1><p>{}</p>",
        Text(&info["version"]),
        Text(&info["description"])
    )?;
    page.push_str("<p>The same as data: <a href=/openapi.json>/openapi.json</a>.</p>");
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let operations = METHODS.iter().filter_map(|&method| Some((method, item.get(method)?)));
        for (method, operation) in operations {
            write_operation(page, document, (method, path), operation)?;
        }
    }
    page.push_str("<h2>Schemas</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let name = Escaped(name);
        write!(
            page,
            "<details id=schema-{name}><summary><b>{name}</b></summary><pre>{}</pre></details>",
            Json(schema)
        )?;
    }
    Ok(())
}

fn write_operation(page: &mut String, document: &Value, at: (&str, &str), operation: &Value) -> fmt::Result {
    let (method, path) = (Escaped(at.0), Escaped(at.1));
    let summary = Text(&operation["summary"]);
    write!(page, "<details><summary><b class={method}>{method}</b> <code>{path}</code> {summary}</summary>")?;
    write!(page, "<p>{}</p>", Text(&operation["description"]))?;
    let parameters = operation["parameters"].as_array().filter(|parameters| !parameters.is_empty());
    if let Some(parameters) = parameters {
        page.push_str("<table><tr><th>parameter<th>in<th>schema<th>what");
        for parameter in parameters.iter().map(|parameter| resolve(document, parameter)) {
            let [name, place, what] = ["name", "in", "description"].map(|member| Text(&parameter[member]));
            write!(
                page,
                "<tr><td><code>{name}</code><td>{place}<td>{}<td>{what}",
                Kind(&parameter["schema"])
            )?;
        }
        page.push_str("</table>");
    }
    let body = resolve(document, &operation["requestBody"]);
    for (kind, content) in body["content"].as_object().into_iter().flatten() {
        write!(page, "<p>Body <code>{}</code>: {}</p>", Escaped(kind), Kind(&content["schema"]))?;
    }
    page.push_str("<table><tr><th>answer<th>body<th>what");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let response = resolve(document, response);
        let schema = response["content"].as_object().and_then(|content| content.values().next());
        let kind = Kind(schema.map_or(&Value::Null, |content| &content["schema"]));
        write!(page, "<tr><td>{}<td>{kind}<td>{}", Escaped(status), Text(&response["description"]))?;
    }
    page.push_str("</table></details>");
    Ok(())
}

/// What a `$ref` into the document stands for.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    target.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

/// A string of the document, or nothing.
struct Text<'a>(&'a Value);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(self.0.as_str().unwrap_or_default()).fmt(f)
    }
}

/// A schema in one line: a link to a named one, else what it says.
struct Kind<'a>(&'a Value);

impl Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        match (name, self.0) {
            (Some(name), _) => write!(f, "<a href=#schema-{0}>{0}</a>", Escaped(name)),
            (None, Value::Null) => Ok(()),
            (None, schema) => write!(f, "<code>{}</code>", Escaped(&schema.to_string())),
        }
    }
}

/// JSON over several lines.
struct Json<'a>(&'a Value);

impl Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&format!("{:#}", self.0)).fmt(f)
    }
}

/// Text that cannot become markup.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}code,pre{font:14px/1.4 ui-monospace,monospace}details{border:1px solid #d0d7de;\
border-radius:6px;margin:.5rem 0;padding:.5rem .75rem}summary{cursor:pointer}b[class]{text-transform:uppercase;\
display:inline-block;min-width:4.5rem}.get{color:#0a6}.put,.patch{color:#a60}.post{color:#06c}.delete{color:#c22}\
table{border-collapse:collapse;width:100%}th,td{border-top:1px solid #d0d7de;padding:.25rem .5rem;text-align:left;\
vertical-align:top}pre{overflow:auto}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}\
details,th,td{border-color:#30363d}a{color:#58a6ff}}";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_tells_each_operation_and_lets_no_markup_through() {
        let page = render(&json!({
            "info": { "title": "cache-api", "version": "0.1.0" },
            "paths": { "/v1/a/{b}": { "get": {
                "summary": "reads <script>alert(1)</script>",
                "parameters": [{ "$ref": "#/components/parameters/B" }],
                "responses": { "200": { "description": "fine", "content": {
                    "application/json": { "schema": { "$ref": "#/components/schemas/A" } } } } },
            } } },
            "components": {
                "parameters": { "B": { "name": "b", "in": "path", "schema": { "type": "string" } } },
                "schemas": { "A": { "type": "object" } },
            },
        }));

        assert!(page.contains("<code>/v1/a/{b}</code> reads &lt;script&gt;"), "{page}");
        assert!(page.contains("<td><code>b</code><td>path"), "{page}");
        assert!(page.contains("<a href=#schema-A>A</a>"), "{page}");
        assert!(!page.contains("<script") && !page.contains("src="), "{page}");
    }
}
