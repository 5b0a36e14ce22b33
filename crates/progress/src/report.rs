//! From what a producer says to what a script takes: rules and packing. Pure.

use crate::{Change, ProgressError};
use domain::progress::{LastWords, NewOperation, Update, Updates};
use domain::{FieldError, OperationId};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt::Write;

/// Steps of an operation; beyond it 422.
pub const STEPS_MAX: usize = 100;
/// Updates in one call; beyond it 422.
pub const UPDATES_MAX: usize = 100;
/// Bytes of `data`; beyond it 413.
pub const DATA_BYTES_MAX: usize = 4_096;
/// Bytes of a message; beyond it 422.
pub const MESSAGE_BYTES_MAX: usize = 1_024;
/// Bytes of a title; beyond it 422.
pub const TITLE_BYTES_MAX: usize = 256;
/// The greatest weight of a step.
pub const WEIGHT_MAX: u32 = 10_000;
/// Counts stay exact in Lua and JavaScript.
const COUNT_MAX: u64 = (1 << 53) - 1;

/// Lines of updates for `update.lua`: `step change weight share current total message data`, parted by tabs.
pub(crate) fn pack_updates(updates: &Updates) -> Result<String, ProgressError> {
    let all = updates.as_slice();
    if !(1..=UPDATES_MAX).contains(&all.len()) {
        return Err(ProgressError::invalid("", format!("1 to {UPDATES_MAX} updates at once")));
    }
    let mut lines = String::with_capacity(64 * all.len());
    for (index, update) in all.iter().enumerate() {
        pack_update(update, &updates.pointer(index), &mut lines)?;
    }
    Ok(lines)
}

fn pack_update(update: &Update, at: &str, lines: &mut String) -> Result<(), ProgressError> {
    let wrong = |field: &str, rule: &str| Err(ProgressError::invalid(format!("{at}{field}"), rule));
    if update.step.is_none() && (update.state.is_some() || update.weight.is_some()) {
        let field = if update.state.is_some() { "/state" } else { "/weight" };
        return wrong(field, "belongs to a step: name one (an operation ends by complete, fail or cancel)");
    }
    if update.percent.is_some() && update.current.is_some() {
        return wrong("/percent", "give percent or current, not both");
    }
    if update.percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
        return wrong("/percent", "0 to 100");
    }
    if update.weight.is_some_and(|weight| !(1..=WEIGHT_MAX).contains(&weight)) {
        return wrong("/weight", "1 to 10000");
    }
    if update.current.is_some_and(|current| current > COUNT_MAX) {
        return wrong("/current", "a whole number below 2^53");
    }
    if update.total.is_some_and(|total| !(1..=COUNT_MAX).contains(&total)) {
        return wrong("/total", "a whole number from 1, below 2^53");
    }
    let measured = update.percent.is_some() || update.current.is_some() || update.total.is_some();
    if update.state.is_none() && !measured && update.message.is_none() && update.data.is_none() {
        return wrong("", "says nothing: give state, percent, current, message or data");
    }

    let change = update.state.map(Change::from).or(measured.then_some(Change::Progressed));
    let step = update.step.as_ref().map_or("", |step| step.as_str());
    let change = change.map_or("", Change::as_str);
    let _ = write!(lines, "{step}\t{change}\t{}\t", text(update.weight));
    let _ = write!(
        lines,
        "{}\t{}\t{}\t",
        text(update.percent.map(share)),
        text(update.current),
        text(update.total)
    );
    lines.push_str(&pack_message(update.message.as_deref(), at)?);
    lines.push('\t');
    lines.push_str(&pack_data(update.data.as_deref(), at)?);
    lines.push('\n');
    Ok(())
}

/// Message and data of an end, as JSON, empty when there is none.
pub(crate) fn pack_last_words(words: &LastWords) -> Result<(String, String), ProgressError> {
    Ok((pack_message(words.message.as_deref(), "")?, pack_data(words.data.as_deref(), "")?))
}

fn pack_message(message: Option<&str>, at: &str) -> Result<String, ProgressError> {
    let Some(message) = message else { return Ok(String::new()) };
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(ProgressError::invalid(
            format!("{at}/message"),
            format!("at most {MESSAGE_BYTES_MAX} bytes"),
        ));
    }
    Ok(json_text(message))
}

fn pack_data(data: Option<&RawValue>, at: &str) -> Result<String, ProgressError> {
    let Some(data) = data else { return Ok(String::new()) };
    let compact = compact(data.get());
    if compact.len() > DATA_BYTES_MAX {
        let field = FieldError::new(format!("{at}/data"), format!("at most {DATA_BYTES_MAX} bytes"));
        return Err(ProgressError::TooLarge(field));
    }
    Ok(compact)
}

/// Lines of steps for `create.lua`: `name weight total`.
pub(crate) fn pack_steps(new: &NewOperation) -> Result<String, ProgressError> {
    if new.steps.len() > STEPS_MAX {
        return Err(ProgressError::invalid("/steps", format!("at most {STEPS_MAX} steps")));
    }
    let (mut lines, mut names) = (String::new(), HashSet::new());
    for (index, step) in new.steps.iter().enumerate() {
        let wrong =
            |field: &str, rule: &str| Err(ProgressError::invalid(format!("/steps/{index}/{field}"), rule));
        if !names.insert(&step.name) {
            return wrong("name", "each step has a name of its own");
        }
        if step.weight.is_some_and(|weight| !(1..=WEIGHT_MAX).contains(&weight)) {
            return wrong("weight", "1 to 10000");
        }
        if step.total.is_some_and(|total| !(1..=COUNT_MAX).contains(&total)) {
            return wrong("total", "a whole number from 1, below 2^53");
        }
        let total = step.total.map_or_else(|| "-".to_owned(), |total| total.to_string());
        let _ = writeln!(lines, "{} {} {total}", step.name, step.weight.unwrap_or(1));
    }
    Ok(lines)
}

/// Rules of a new operation besides its steps.
pub(crate) fn check_new(new: &NewOperation) -> Result<(), ProgressError> {
    if new.title.as_ref().is_some_and(|title| title.len() > TITLE_BYTES_MAX) {
        return Err(ProgressError::invalid("/title", format!("at most {TITLE_BYTES_MAX} bytes")));
    }
    match &new.id {
        Some(id) if is_child(id) => {
            Err(ProgressError::invalid("/id", "`~` parts a child from its root: leave it out"))
        }
        _ => Ok(()),
    }
}

/// Children are named `<root>~<n>` by their root.
pub(crate) fn is_child(id: &OperationId) -> bool {
    id.as_str().contains('~')
}

/// 0 to 100 as 0 to 10,000, so that sums are exact.
fn share(percent: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 100 was checked before"
    )]
    let share = (percent * 100.0).round() as u32;
    share
}

/// 0 to 10,000 as 0 to 100.
pub(crate) fn percent(share: u32) -> f64 {
    f64::from(share) / 100.0
}

pub(crate) fn json_text(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}

fn text(number: Option<impl ToString>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

/// JSON without blanks between its tokens: neither tab nor line break is left, as strings hold none unescaped.
fn compact(json: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::with_capacity(json.len()), false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '"' {
            in_string = true;
        } else if c.is_ascii_whitespace() {
            continue;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updates(json: &str) -> Updates {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_update_becomes_one_line() {
        for (json, line) in [
            (r#"{"step":"load","state":"running"}"#, "load\tstarted\t\t\t\t\t\t\n"),
            (r#"{"step":"load","percent":42.517}"#, "load\tprogressed\t\t4252\t\t\t\t\n"),
            (r#"{"current":3,"total":9}"#, "\tprogressed\t\t\t3\t9\t\t\n"),
            (r#"{"message":"a\tb\n"}"#, "\t\t\t\t\t\t\"a\\tb\\n\"\t\n"),
            ("{\"data\":{ \"a b\" :\n [1.50,\t\"\\\" }\"]}}", "\t\t\t\t\t\t\t{\"a b\":[1.50,\"\\\" }\"]}\n"),
            (r#"{"step":"x","state":"pending","weight":7}"#, "x\treset\t7\t\t\t\t\t\n"),
        ] {
            assert_eq!(pack_updates(&updates(json)).unwrap(), line, "{json}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_named_by_its_pointer() {
        for (json, pointer) in [
            ("[]", ""),
            ("{}", ""),
            (r#"{"step":"x"}"#, ""),
            (r#"[{"percent":1},{"percent":100.01}]"#, "/1/percent"),
            (r#"{"percent":-0.5}"#, "/percent"),
            (r#"{"percent":1,"current":1}"#, "/percent"),
            (r#"{"state":"running"}"#, "/state"),
            (r#"{"weight":1,"message":"x"}"#, "/weight"),
            (r#"{"step":"x","state":"running","weight":0}"#, "/weight"),
            (r#"{"total":0}"#, "/total"),
            (r#"{"current":9007199254740992}"#, "/current"),
        ] {
            match pack_updates(&updates(json)) {
                Err(ProgressError::Invalid(fields)) => assert_eq!(fields[0].pointer, pointer, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn data_counts_without_its_blanks() {
        let json = |bytes: usize| format!(r#"{{"data":   "{}"}}"#, "x".repeat(bytes - 2));
        assert!(pack_updates(&updates(&json(DATA_BYTES_MAX))).is_ok());
        assert!(matches!(pack_updates(&updates(&json(DATA_BYTES_MAX + 1))), Err(ProgressError::TooLarge(_))));
    }
}
