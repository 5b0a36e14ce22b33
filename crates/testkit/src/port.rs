//! Ports that no other test on this machine takes.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range from which the kernel picks ports of outgoing connections, so that a server that is
/// down for a moment finds its port free again.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A port of 127.0.0.1 that is ours as long as this value lives.
///
/// Tests run in many processes at once; "bind to 0, close, start the server there" lets two of them get
/// one port. So each port has a lock file; the kernel frees the lock when its process ends, however it
/// ends.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _lock: File,
}

impl Port {
    /// Takes a port that is neither locked by another test nor bound by anything.
    pub(crate) fn take() -> Self {
        static TRIES: AtomicU32 = AtomicU32::new(0);
        let folder = std::env::temp_dir().join("sluice-testkit-ports");
        std::fs::create_dir_all(&folder).expect("the temp folder can be written");
        for _ in 0..COUNT {
            // Processes start far from each other, so that they seldom try the same port.
            let offset = std::process::id().wrapping_mul(97) + TRIES.fetch_add(1, Ordering::Relaxed);
            let number = u16::try_from(FIRST + offset % COUNT).expect("below 32,000");
            let path = folder.join(number.to_string());
            // Another user's lock file cannot be opened: then the port is theirs.
            let Ok(lock) = OpenOptions::new().create(true).truncate(false).write(true).open(path) else {
                continue;
            };
            if lock.try_lock().is_ok() && is_free(number) {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port from {FIRST} to {}", FIRST + COUNT);
    }
}

/// Whether nothing listens on this port of 127.0.0.1 now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A port of 127.0.0.1 that no other test takes as long as this process lives.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<Vec<Port>> = Mutex::new(Vec::new());
    let port = Port::take();
    let number = port.number;
    TAKEN.lock().expect("nothing panics while it holds this lock").push(port);
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_process_takes_a_port_as_long_as_it_is_held() {
        let port = Port::take();
        let path = std::env::temp_dir().join("sluice-testkit-ports").join(port.number.to_string());
        let of_another = OpenOptions::new().write(true).open(path).unwrap();

        assert!(of_another.try_lock().is_err());
        drop(port);
        assert!(of_another.try_lock().is_ok());
    }

    #[test]
    fn a_port_is_given_once() {
        let taken: Vec<Port> = (0..50).map(|_| Port::take()).collect();
        let mut numbers: Vec<u16> = taken.iter().map(|port| port.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
    }

    #[test]
    fn a_port_that_something_listens_on_is_not_given() {
        let port = Port::take();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number)).unwrap();
        assert!(!is_free(port.number));
    }
}
