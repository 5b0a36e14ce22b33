//! `sluice logs`: the log of a stack in the background.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use anyhow::Context as _;

use crate::home::Home;

/// How much of the end is read to find the last lines.
const TAIL_BYTES: u64 = 1 << 20;

/// Prints the last `lines` lines, then, with `follow`, what comes until the stack stops.
pub(crate) async fn print(home: &Home, lines: usize, follow: bool) -> anyhow::Result<()> {
    let path = home.log();
    let mut file = File::open(&path)
        .with_context(|| format!("{}: no stack has run in the background here", path.display()))?;
    let mut out = io::stdout().lock();
    out.write_all(last_lines(&read_tail(&mut file)?, lines))?;

    if follow {
        follow_on(home, &mut file, &mut out).await?;
    }
    Ok(())
}

/// Prints what is appended, until the stack has stopped and all is read.
async fn follow_on(home: &Home, file: &mut File, out: &mut impl io::Write) -> anyhow::Result<()> {
    loop {
        let runs = home.holder()?.is_some();
        let mut fresh = Vec::new();
        file.read_to_end(&mut fresh)?;
        out.write_all(&fresh)?;
        out.flush()?;
        if fresh.is_empty() && !runs {
            return Ok(());
        }
        if fresh.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn read_tail(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(tail)
}

/// The last `count` lines of a text that ends with a line end.
pub(crate) fn last_lines(text: &[u8], count: usize) -> &[u8] {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let start =
        body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').nth(count.saturating_sub(1));
    &text[start.map_or(0, |(at, _)| at + 1)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_the_last() {
        for (text, count, expected) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc\n", 9, "a\nb\nc\n"),
            ("a\nb\nunfinished", 1, "unfinished"),
            ("", 3, ""),
        ] {
            assert_eq!(last_lines(text.as_bytes(), count), expected.as_bytes(), "{text:?}, {count}");
        }
    }
}
