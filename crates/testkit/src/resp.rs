//! A RESP2 client of ten lines more than nothing, so that tests do not see Redis through the client that
//! they test.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Sends one command on a connection of its own and returns the reply as text.
///
/// Nil is `(nil)`, an error its message, an array one element a line. `None` when there is no server or no
/// answer within `deadline`.
pub(crate) async fn ask(port: u16, command: &[&str], deadline: Duration) -> Option<String> {
    let talk = async {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.ok()?);
        stream.write_all(&encode(command)).await.ok()?;
        read_reply(&mut stream).await
    };
    tokio::time::timeout(deadline, talk).await.ok()?
}

fn encode(command: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for word in command {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

async fn read_reply(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut lines = Vec::new();
    let mut expected = 1u64;
    // An array's elements follow it, so nesting needs no recursion: it only makes more to read.
    while expected > 0 {
        expected -= 1;
        let mut head = String::new();
        stream.read_line(&mut head).await.ok()?;
        let (kind, rest) = head.trim_end().split_at_checked(1)?;
        match (kind, rest) {
            ("$" | "*", "-1") => lines.push("(nil)".to_owned()),
            ("$", length) => {
                let mut bytes = vec![0; length.parse::<usize>().ok()? + 2];
                stream.read_exact(&mut bytes).await.ok()?;
                bytes.truncate(bytes.len() - 2);
                lines.push(String::from_utf8_lossy(&bytes).into_owned());
            }
            ("*", count) => expected += count.parse::<u64>().ok()?,
            _ => lines.push(rest.to_owned()),
        }
    }
    Some(lines.join("\n"))
}
