//! A TCP proxy in front of a server: counts round trips on the wire, and makes faults.

use std::io;
use std::net::{Ipv4Addr, Shutdown};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

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

    /// What the methods below do, they do from now on to one connection only: the first that asks something which contains
    /// this text, once it has. The text is looked for in what arrives at once.
    pub fn hit_only_who_asks(&self, text: &str) {
        self.shared.change(|faults| faults.only = Some(Only::WhoAsks(text.as_bytes().to_owned())));
    }

    /// While `true`, requests reach the server and are executed, but no reply reaches the client.
    ///
    /// [`Proxy::cut`] then makes the answers get lost; `false` delivers them late.
    pub fn hold_replies(&self, hold: bool) {
        self.shared.change(|faults| (faults.hold_replies, faults.hold_replies_from) = (hold, None));
    }

    /// [`Proxy::hold_replies`] from the first request on that contains this text: the replies to what was asked before
    /// reach the client, its own does not. [`Proxy::holds_replies`] says that it came.
    ///
    /// The text is looked for in what arrives at once, as a command without a large payload does.
    pub fn hold_replies_once_asked(&self, text: &str) {
        self.shared.change(|faults| faults.hold_replies_from = Some(text.as_bytes().to_owned()));
    }

    /// Whether replies are held now.
    pub fn holds_replies(&self) -> bool {
        self.shared.faults.borrow().hold_replies
    }

    /// While `true`, nothing passes in either direction and no connection is closed: packets get lost.
    /// `false` delivers what was held, as TCP would.
    pub fn black_hole(&self, hold: bool) {
        self.shared.change(|faults| {
            (faults.hold_requests, faults.hold_replies, faults.hold_replies_from) = (hold, hold, None);
        });
    }

    /// Everything arrives so much later, in each direction; nothing is held up by what comes before it.
    pub fn delay(&self, latency: Duration) {
        self.shared.change(|faults| faults.latency = latency);
    }

    /// Replies arrive so many bytes at a time, with a pause after each; at once again with `usize::MAX`.
    pub fn trickle(&self, bytes: usize, pause: Duration) {
        assert!(bytes > 0, "not a byte would arrive");
        self.shared.change(|faults| faults.trickle = (bytes < usize::MAX).then_some((bytes, pause)));
    }

    /// The next reply ends after so many bytes, and its connection with it.
    pub fn cut_inside_the_next_reply(&self, bytes: usize) {
        self.shared.change(|faults| faults.cut_reply_at = Some(bytes));
    }

    /// Resets the open connections: the client is told so at once, and what was on its way is lost.
    pub fn reset(&self) {
        self.shared.change(|faults| faults.resets += 1);
    }

    /// The server's side of the open connections is gone, and the client's side is not told: what it sends is taken, and
    /// nothing ever comes back. New connections work. (A host that lost its power, behind a router that keeps silent.)
    pub fn half_open(&self) {
        self.shared.change(|faults| faults.half_opens += 1);
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

/// The one connection that is hit.
#[derive(Clone, Debug)]
enum Only {
    /// By its number.
    Connection(u64),
    /// Not known yet: the first that asks this.
    WhoAsks(Vec<u8>),
}

/// What goes wrong now.
#[derive(Clone, Debug, Default)]
struct Faults {
    /// Every connection is hit when there is none.
    only: Option<Only>,
    hold_requests: bool,
    hold_replies: bool,
    /// A request that contains this sets `hold_replies`.
    hold_replies_from: Option<Vec<u8>>,
    latency: Duration,
    trickle: Option<(usize, Duration)>,
    cut_reply_at: Option<usize>,
    /// How often the connections that were open then have been reset, or lost their server's side.
    resets: u64,
    half_opens: u64,
}

impl Faults {
    fn hit(&self, connection: u64) -> bool {
        match self.only {
            None => true,
            Some(Only::Connection(number)) => number == connection,
            Some(Only::WhoAsks(_)) => false,
        }
    }

    /// Before the request goes on, so that no reply to it can slip through.
    fn ask(&mut self, connection: u64, request: &[u8]) -> bool {
        let asks = |text: &Vec<u8>| request.windows(text.len()).any(|window| window == text);
        let found = self.only.take_if(|only| matches!(only, Only::WhoAsks(text) if asks(text))).is_some();
        if found {
            self.only = Some(Only::Connection(connection));
        }
        let begins = self.hit(connection) && self.hold_replies_from.take_if(|text| asks(text)).is_some();
        self.hold_replies |= begins;
        found || begins
    }
}

#[derive(Debug)]
struct Shared {
    target: u16,
    round_trips: AtomicU64,
    bytes_asked: AtomicU64,
    bytes_answered: AtomicU64,
    connections: AtomicU64,
    /// The number of the last connection that was accepted.
    last_number: AtomicU64,
    faults: watch::Sender<Faults>,
}

impl Shared {
    fn new(target: u16) -> Self {
        Self {
            target,
            round_trips: AtomicU64::new(0),
            bytes_asked: AtomicU64::new(0),
            bytes_answered: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            last_number: AtomicU64::new(0),
            faults: watch::Sender::new(Faults::default()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.send_modify(change);
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
async fn pump(client: TcpStream, shared: Arc<Shared>) {
    let _open = Open::new(&shared);
    let number = shared.last_number.fetch_add(1, Ordering::SeqCst) + 1;
    let mut faults = shared.faults.subscribe();
    let Faults { resets, half_opens, .. } = *faults.borrow();
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.target)).await else { return };
    // Else Nagle's algorithm adds up to 40 ms that are not the server's.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let ends = tokio::select! {
        () = relay(&client, server, number, &shared) => return,
        now = faults.wait_for(|now| now.hit(number) && (now.resets, now.half_opens) != (resets, half_opens)) => {
            now.map(|now| now.resets > resets)
        }
    };
    match ends {
        // A connection that is closed with this set is reset. Source: socket(7), SO_LINGER.
        Ok(true) => drop(SockRef::from(&client).set_linger(Some(Duration::ZERO))),
        // The relay has dropped the server's side. Takes what comes until the client gives up, or a cut.
        _ => while discard(&client).await {},
    }
}

/// False once there is nothing more to take.
async fn discard(client: &TcpStream) -> bool {
    client.readable().await.is_ok()
        && match client.try_read(&mut [0; 4096]) {
            Ok(length) => length > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
}

/// Both directions, until they have ended.
async fn relay(client: &TcpStream, server: TcpStream, number: u64, shared: &Shared) {
    let asking = AtomicBool::new(false);
    let asked = |request: &[u8]| {
        if !asking.swap(true, Ordering::SeqCst) {
            shared.round_trips.fetch_add(1, Ordering::SeqCst);
        }
        shared.bytes_asked.fetch_add(request.len() as u64, Ordering::SeqCst);
        shared.faults.send_if_modified(|faults| faults.ask(number, request));
    };
    let answered = |reply: &[u8]| {
        asking.store(false, Ordering::SeqCst);
        shared.bytes_answered.fetch_add(reply.len() as u64, Ordering::SeqCst);
    };
    let requests = Direction { from: client, to: &server, number, is_reply: false, shared };
    let replies = Direction { from: &server, to: client, number, is_reply: true, shared };
    // A reset on one side ends the other; an orderly end lets the other direction finish.
    let _ = tokio::try_join!(requests.run(asked), replies.run(answered));
}

struct Direction<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    number: u64,
    is_reply: bool,
    shared: &'a Shared,
}

impl Direction<'_> {
    /// Reads ahead of what it writes, so that a delay adds to each piece, and not up over those that follow.
    async fn run(&self, seen: impl Fn(&[u8])) -> io::Result<()> {
        let (pieces, waiting) = mpsc::channel(PIECES);
        tokio::try_join!(self.read(pieces, seen), self.write(waiting)).map(drop)
    }

    async fn read(&self, pieces: mpsc::Sender<(Instant, Vec<u8>)>, seen: impl Fn(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            self.from.readable().await?;
            let length = match self.from.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                read => read?,
            };
            if length > 0 {
                seen(&buffer[..length]);
            }
            let at = Instant::now();
            if length == 0 || pieces.send((at, buffer[..length].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn write(&self, mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>) -> io::Result<()> {
        let mut faults = self.shared.faults.subscribe();
        while let Some((at, piece)) = pieces.recv().await {
            let latency = self.now(&mut faults).await?.latency;
            tokio::time::sleep_until(at + latency).await;
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                let now = self.now(&mut faults).await?;
                if self.is_reply
                    && let Some(length) = self.take_cut()
                {
                    self.write_all(&rest[..length.min(rest.len())]).await?;
                    return Err(io::Error::other("cut inside a reply"));
                }
                let (length, pause) = match now.trickle.filter(|_| self.is_reply) {
                    Some((length, pause)) => (length.min(rest.len()), pause),
                    None => (rest.len(), Duration::ZERO),
                };
                self.write_all(&rest[..length]).await?;
                rest = &rest[length..];
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        }
        self.now(&mut faults).await?;
        SockRef::from(self.to).shutdown(Shutdown::Write)
    }

    /// What goes wrong for this connection, once it is not held.
    async fn now(&self, faults: &mut watch::Receiver<Faults>) -> io::Result<Faults> {
        let is_held = |faults: &Faults| {
            let held = if self.is_reply { faults.hold_replies } else { faults.hold_requests };
            held && faults.hit(self.number)
        };
        let now = faults.wait_for(|faults| !is_held(faults)).await.map_err(io::Error::other)?;
        Ok(if now.hit(self.number) { now.clone() } else { Faults::default() })
    }

    /// Where to cut, told once.
    fn take_cut(&self) -> Option<usize> {
        let mut at = None;
        self.shared.faults.send_if_modified(|faults| {
            if faults.hit(self.number) {
                at = faults.cut_reply_at.take();
            }
            at.is_some()
        });
        at
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.to.writable().await?;
            match self.to.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => bytes = &bytes[written?..],
            }
        }
        Ok(())
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

/// Read ahead of a write that waits; further ones stay with their sender.
const PIECES: usize = 16;
