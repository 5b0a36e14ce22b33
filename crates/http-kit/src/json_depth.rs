//! How deep JSON is nested, found before anything is built from it.
//!
//! `serde_json` has a bound of its own, but not for what it skips or keeps raw, and payloads are kept raw.

use std::fmt::Write;

/// The JSON pointer of the first value that is nested deeper than `deepest` arrays and objects.
///
/// Cost: one pass over the bytes, no allocation unless the bound is broken. What is no JSON is left to the parser.
pub(crate) fn beyond(json: &[u8], deepest: usize) -> Option<String> {
    let mut depth = 0;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => at = end_of_string(json, at),
            b'[' | b'{' if depth == deepest => return Some(pointer_to(json, at)),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The place of the closing quote of the string that begins at `start`.
fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// The JSON pointer of the value that begins at `target`. Only for the error: it walks again from the beginning.
fn pointer_to(json: &[u8], target: usize) -> String {
    enum Place {
        Item(usize),
        Member(std::ops::Range<usize>),
    }
    let mut path = Vec::new();
    let mut at = 0;
    while at < target {
        match json[at] {
            b'"' => {
                let end = end_of_string(json, at);
                if let Some(Place::Member(name)) = path.last_mut()
                    && *name == (0..0)
                {
                    *name = at..end + 1;
                }
                at = end;
            }
            b'[' => path.push(Place::Item(0)),
            b'{' => path.push(Place::Member(0..0)),
            b']' | b'}' => drop(path.pop()),
            b',' => match path.last_mut() {
                Some(Place::Item(index)) => *index += 1,
                Some(Place::Member(name)) => *name = 0..0,
                None => {}
            },
            _ => {}
        }
        at += 1;
    }
    let mut pointer = String::new();
    for place in path {
        match place {
            Place::Item(index) => write!(pointer, "/{index}").expect("a String takes all"),
            Place::Member(name) => {
                let name: String =
                    serde_json::from_slice(json.get(name).unwrap_or_default()).unwrap_or_default();
                write!(pointer, "/{}", escape(&name)).expect("a String takes all");
            }
        }
    }
    pointer
}

/// A name as a part of a JSON pointer (RFC 6901, section 3).
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_beyond_the_bound_is_named() {
        for (json, pointer) in [
            ("1", None),
            ("[[1]]", None),
            ("[[[1]]]", Some("/0/0")),
            (r#"{"a":{"b":{}}}"#, Some("/a/b")),
            (r#"{"x":[1],"a/b":[0,"[[[",{"y":1}]}"#, Some("/a~1b/2")),
            (r#"{"quote\"[[[":[["deep"],[[]]]}"#, Some(r#"/quote"[[[/0"#)),
            (r#"[[],[],[]]"#, None),
            (r#""[[[""#, None),
            ("[[\"unfinished", None),
            ("]]]][[[", Some("/0/0")),
        ] {
            assert_eq!(beyond(json.as_bytes(), 2).as_deref(), pointer, "{json}");
        }
    }

    #[test]
    fn a_million_brackets_cost_one_pass_and_no_stack() {
        assert!(beyond("[".repeat(1_000_000).as_bytes(), 32).is_some());
        assert!(beyond("[".repeat(32).as_bytes(), 32).is_none());
    }
}
