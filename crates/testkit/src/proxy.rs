//! A TCP proxy in front of a server: counts round trips on the wire, and makes faults.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::RedisServer;
use crate::port::Port;

/// A TCP proxy on 127.0.0.1 with a thread of its own, so that a test which blocks its runtime does not
/// stop it. Connections are made to the server one for one.
#[derive(Debug)]
pub struct Proxy {
    commands: Option<mpsc::Sender<(Command, SyncSender<()>)>>,
    shared: Arc<Shared>,
    port: Port,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy in front of a Redis server; [`Proxy::url`] replaces the server's.
    pub async fn to(server: &RedisServer) -> Self {
        Self::to_port(server.port()).await
    }

    /// A proxy in front of whatever listens on this port of 127.0.0.1, now or later.
    pub async fn to_port(target: u16) -> Self {
        let port = Port::take();
        let shared = Arc::new(Shared::new(target));
        let (commands, received) = mpsc::channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let number = port.number;
        let on_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("fault proxy".to_owned());
        let thread = thread.spawn(move || runtime.block_on(serve(on_thread, number, received)));
        let thread = Some(thread.expect("a thread can be started"));
        let proxy = Self { commands: Some(commands), shared, port, thread };
        // The first answer comes when the proxy listens.
        proxy.command(Command::Refuse(false));
        proxy
    }

    /// `redis://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// The port of 127.0.0.1 that clients connect to.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// How often a connection's direction turned to *request*, from idle or from a reply, summed over all
    /// connections so far. What is sent together before any reply is one round trip.
    ///
    /// Counts what a client does by itself too (HELLO, PING, SUBSCRIBE): measure by difference, warm.
    pub fn round_trips(&self) -> u64 {
        self.shared.round_trips.load(Ordering::SeqCst)
    }

    /// Runs a future and returns its value with the round trips that were made meanwhile.
    pub async fn round_trips_of<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let before = self.round_trips();
        let value = work.await;
        (value, self.round_trips() - before)
    }

    /// Bytes from clients and bytes from the server so far.
    pub fn bytes(&self) -> (u64, u64) {
        (self.shared.bytes_asked.load(Ordering::SeqCst), self.shared.bytes_answered.load(Ordering::SeqCst))
    }

    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Drops every open connection, with what is on its way. New ones are accepted.
    pub fn cut(&self) {
        self.command(Command::Cut);
    }

    /// While `true`, new connections get "connection refused". Open ones stay.
    pub fn refuse(&self, refuse: bool) {
        self.command(Command::Refuse(refuse));
    }

    /// While `true`, requests reach the server and are executed, but no reply reaches the client.
    ///
    /// [`Proxy::cut`] then makes the answers get lost; `false` delivers them late.
    pub fn hold_replies(&self, hold: bool) {
        self.shared.held.send_modify(|held| (held.replies, held.replies_from) = (hold, None));
    }

    /// [`Proxy::hold_replies`] from the first request on that contains this text: the replies to what was asked before
    /// reach the client, its own does not. [`Proxy::holds_replies`] says that it came.
    ///
    /// The text is looked for in what arrives at once, as a command without a large payload does.
    pub fn hold_replies_once_asked(&self, text: &str) {
        self.shared.held.send_modify(|held| held.replies_from = Some(text.as_bytes().to_owned()));
    }

    /// Whether replies are held now.
    pub fn holds_replies(&self) -> bool {
        self.shared.held.borrow().replies
    }

    /// While `true`, nothing passes in either direction and no connection is closed: packets get lost.
    /// `false` delivers what was held, as TCP would.
    pub fn black_hole(&self, hold: bool) {
        self.shared
            .held
            .send_modify(|held| *held = Held { requests: hold, replies: hold, replies_from: None });
    }

    /// Returns when the proxy has done it. Blocks for some microseconds.
    fn command(&self, command: Command) {
        let (done, wait) = sync_channel(1);
        let commands = self.commands.as_ref().expect("taken only by drop");
        commands.try_send((command, done)).expect("the proxy runs and no command is under way");
        wait.recv().expect("the proxy runs");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; a second one here would abort.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
enum Command {
    Cut,
    Refuse(bool),
}

#[derive(Clone, Debug, Default)]
struct Held {
    requests: bool,
    replies: bool,
    /// A request that contains this sets `replies`.
    replies_from: Option<Vec<u8>>,
}

impl Held {
    /// Before the request goes on, so that no reply to it can slip through.
    fn ask(&mut self, request: &[u8]) -> bool {
        let asked = |text: &Vec<u8>| request.windows(text.len()).any(|window| window == text);
        let begins = self.replies_from.take_if(|text| asked(text)).is_some();
        self.replies |= begins;
        begins
    }
}

#[derive(Debug)]
struct Shared {
    target: u16,
    round_trips: AtomicU64,
    bytes_asked: AtomicU64,
    bytes_answered: AtomicU64,
    connections: AtomicU64,
    held: watch::Sender<Held>,
}

impl Shared {
    fn new(target: u16) -> Self {
        Self {
            target,
            round_trips: AtomicU64::new(0),
            bytes_asked: AtomicU64::new(0),
            bytes_answered: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            held: watch::Sender::new(Held::default()),
        }
    }
}

async fn serve(shared: Arc<Shared>, port: u16, mut commands: mpsc::Receiver<(Command, SyncSender<()>)>) {
    let mut listener = None;
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            // Accepting comes first, so that a cut also hits who has connected just before.
            biased;
            accepted = accept(listener.as_ref()) => {
                if let Ok((client, _)) = accepted {
                    open.spawn(pump(client, Arc::clone(&shared)));
                }
            }
            command = commands.recv() => {
                let Some((command, done)) = command else { return };
                match command {
                    Command::Cut => open.shutdown().await,
                    Command::Refuse(true) => listener = None,
                    Command::Refuse(false) if listener.is_none() => listener = Some(bind(port).await),
                    Command::Refuse(false) => {}
                }
                // Nobody waits when the test gave up meanwhile.
                let _ = done.send(());
            }
            Some(_) = open.join_next() => {}
        }
    }
}

async fn bind(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("the port is ours")
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, std::net::SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// One connection, until either side closes it.
async fn pump(mut client: TcpStream, shared: Arc<Shared>) {
    let _open = Open::new(&shared);
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.target)).await else { return };
    // Else Nagle's algorithm adds up to 40 ms that are not the server's.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let asking = AtomicBool::new(false);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let asked = |request: &[u8]| {
        if !asking.swap(true, Ordering::SeqCst) {
            shared.round_trips.fetch_add(1, Ordering::SeqCst);
        }
        shared.bytes_asked.fetch_add(request.len() as u64, Ordering::SeqCst);
        shared.held.send_if_modified(|held| held.ask(request));
    };
    let answered = |reply: &[u8]| {
        asking.store(false, Ordering::SeqCst);
        shared.bytes_answered.fetch_add(reply.len() as u64, Ordering::SeqCst);
    };
    let requests = copy(from_client, to_server, asked, shared.held.subscribe(), |held| held.requests);
    let replies = copy(from_server, to_client, answered, shared.held.subscribe(), |held| held.replies);
    // A reset on one side ends the other; an orderly end lets the other direction finish.
    let _ = tokio::try_join!(requests, replies);
}

async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    seen: impl Fn(&[u8]),
    mut held: watch::Receiver<Held>,
    is_held: impl Fn(&Held) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length > 0 {
            seen(&buffer[..length]);
        }
        held.wait_for(|held| !is_held(held)).await.map_err(io::Error::other)?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}

/// Counts a connection as long as its task lives, also when that is aborted.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}
