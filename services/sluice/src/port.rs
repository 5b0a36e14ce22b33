//! Who holds a port: so that a start which cannot have it names the program to stop.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::{fmt, fs, path::Path};

/// A port that somebody else listens on.
#[derive(Debug, thiserror::Error)]
#[error("{address} ({purpose}) is taken by {holder}: stop it, or {otherwise}")]
pub(crate) struct PortTaken {
    address: SocketAddr,
    purpose: &'static str,
    holder: Holder,
    otherwise: String,
}

/// The process that listens, as far as this system lets us know.
#[derive(Debug)]
enum Holder {
    Process { name: String, id: u32 },
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { name, id } => write!(f, "{name} (process {id})"),
            Self::Unknown => write!(f, "a process of another user"),
        }
    }
}

/// Checks that `address` can be listened on. `otherwise` says what to do if the holder must stay.
///
/// The address is free again at once, so somebody can still be faster than the service itself; then
/// the service's own error says the same without the name.
pub(crate) fn check_free(
    address: SocketAddr,
    purpose: &'static str,
    otherwise: String,
) -> Result<(), PortTaken> {
    match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Err(PortTaken { address, purpose, holder: holder(address.port()), otherwise })
        }
        // Another error (an address that this machine does not have) is the service's to explain.
        _ => Ok(()),
    }
}

/// Finds the listening socket in `/proc/net/tcp`, then the process that has it open.
fn holder(port: u16) -> Holder {
    let found = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, port))
        .and_then(|inode| process_with(&format!("socket:[{inode}]")));
    match found {
        Some((name, id)) => Holder::Process { name, id },
        None => holder_by_lsof(port),
    }
}

/// The inode of the socket that listens on `port`, from a table like `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    const LISTENING: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let (local, state) = (columns.nth(1)?, columns.nth(1)?);
        let (_, local_port) = local.rsplit_once(':')?;
        let ours = state == LISTENING && u16::from_str_radix(local_port, 16) == Ok(port);
        ours.then(|| columns.nth(5)?.parse().ok())?
    })
}

fn process_with(socket: &str) -> Option<(String, u32)> {
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Another user's descriptors cannot be read: that process is passed over.
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds =
            descriptors.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == Path::new(socket)));
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            return Some((name.trim_end().to_owned(), id));
        }
    }
    None
}

/// macOS has no `/proc`; its `lsof` prints `p<process id>` and `c<name>` on lines of their own.
fn holder_by_lsof(port: u16) -> Holder {
    let arguments = ["-nP", &format!("-iTCP:{port}"), "-sTCP:LISTEN", "-Fpc"];
    let Ok(output) = std::process::Command::new("lsof").args(arguments).output() else {
        return Holder::Unknown;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |letter| text.lines().find_map(|line| line.strip_prefix(letter));
    match (field('c'), field('p').and_then(|id| id.parse().ok())) {
        (Some(name), Some(id)) => Holder::Process { name: name.to_owned(), id },
        _ => Holder::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_process_that_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();

        let error = check_free(address, "cache-api", "move it".to_owned()).unwrap_err().to_string();

        assert!(error.starts_with(&format!("{address} (cache-api) is taken by ")), "{error}");
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        assert!(error.ends_with("stop it, or move it"), "{error}");
    }

    #[test]
    fn a_free_port_is_free_and_stays_so() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

        for _ in 0..2 {
            check_free(address, "cache-api", String::new()).unwrap();
        }
    }

    #[test]
    fn the_table_of_sockets_is_read_by_port_and_state() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1479 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 111 1 0\n\
             1: 0100007F:1479 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0\n";

        assert_eq!(listening_inode(table, 5241), Some(222));
        assert_eq!(listening_inode(table, 5242), None);
    }
}
