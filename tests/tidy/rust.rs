//! As much of Rust's grammar as the rules need: code without comments and tests, calls and their arguments.

/// The code of a file, line for line: comments are blank, and so is what follows `#[cfg(test)] mod … {`,
/// which stands at the end of a file.
pub(crate) fn code(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let opens_tests = |at: usize| {
        let module = lines[at..].iter().find(|line| !line.starts_with("#["));
        lines[at] == "#[cfg(test)]" && module.is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    };
    let end = (0..lines.len()).find(|at| opens_tests(*at)).unwrap_or(lines.len());
    let kept = lines[..end].iter().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// One call found in code: where its name begins, and its arguments as text.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) at: usize,
    pub(crate) arguments: Vec<String>,
}

/// Calls of `name`, which ends with its opening parenthesis: `".run("`.
pub(crate) fn calls(code: &str, name: &str) -> Vec<Call> {
    let found = code.match_indices(name);
    found.map(|(at, _)| Call { at, arguments: arguments(&code[at + name.len()..]) }).collect()
}

/// The arguments up to the parenthesis or bracket that closes them; a trailing comma adds none.
pub(crate) fn arguments(text: &str) -> Vec<String> {
    let (mut arguments, mut current, mut depth) = (Vec::new(), String::new(), 0);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                current.push('"');
                while let Some(inside) = characters.next() {
                    current.push(inside);
                    match inside {
                        '\\' => current.extend(characters.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(std::mem::take(&mut current).trim().to_owned());
                continue;
            }
            _ => {}
        }
        current.push(character);
    }
    arguments.push(current.trim().to_owned());
    arguments.retain(|argument| !argument.is_empty());
    arguments
}

/// The number of the line at which a byte of the text stands.
pub(crate) fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_end_where_they_end() {
        let all = &calls("a.run(&X, &[f(1, 2), \"a, ) b\"], vec![],)?; g(h)", ".run(")[0].arguments;
        assert_eq!(*all, ["&X", "&[f(1, 2), \"a, ) b\"]", "vec![]"]);
    }

    #[test]
    fn comments_and_tests_are_no_code() {
        let text = "a\n// b\n#[cfg(test)]\nmod c;\n#[cfg(test)]\nmod tests {\n  d\n}";
        assert_eq!(code(text), "a\n\n#[cfg(test)]\nmod c;\n");
    }
}
