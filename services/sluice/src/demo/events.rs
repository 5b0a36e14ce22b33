//! Server-sent events as they come in: enough of the format to follow an operation.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

/// One event; `data` has its lines joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) data: String,
}

/// Reads events out of a body that arrives in pieces.
pub(crate) struct Events<S> {
    body: S,
    unread: Vec<u8>,
    event: Event,
}

impl<S, E> Events<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    pub(crate) fn new(body: S) -> Self {
        Self { body, unread: Vec::new(), event: Event::default() }
    }

    /// The next event; `None` at the end of the stream. Comments and heartbeats without data pass.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            while let Some(line) = self.next_line() {
                if let Some(event) = self.take_in(&line) {
                    return Ok(Some(event));
                }
            }
            match self.body.next().await {
                Some(piece) => self.unread.extend(piece?),
                None => return Ok(None),
            }
        }
    }

    fn next_line(&mut self) -> Option<String> {
        let end = self.unread.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<_> = self.unread.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    /// A blank line ends an event, which counts only if it has data.
    fn take_in(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // `retry`, comments (an empty field name), and what may come later.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    async fn read(pieces: &[&'static str]) -> Vec<Event> {
        let body =
            futures_util::stream::iter(pieces.iter().map(|piece| Ok::<_, Infallible>(Bytes::from(*piece))));
        let mut events = Events::new(body);
        let mut all = Vec::new();
        while let Some(event) = events.next().await.unwrap() {
            all.push(event);
        }
        all
    }

    #[tokio::test]
    async fn events_are_read_however_they_are_cut() {
        let whole =
            "retry: 1000\n\n: hello\n\nid: 7.1\nevent: step\ndata: {\"a\":\ndata: 1}\n\nevent: heartbeat\n\n";
        let expected = Event { id: Some("7.1".into()), name: "step".into(), data: "{\"a\":\n1}".into() };

        for at in 0..whole.len() {
            let (a, b) = whole.split_at(at);
            assert_eq!(read(&[a, b]).await, std::slice::from_ref(&expected), "cut at {at}");
        }
    }
}
