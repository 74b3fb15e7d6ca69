//! Who is at the other end of a connection. On loopback addresses say nothing, and half of what connects to a
//! node (a probe, a library that asks for TLS first) doesn't say who it is. But all processes of a run work in the
//! directory of their node, and the kernel knows which process holds a socket.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

/// The node, or `monitor`, that a connection from `peer` to `here` comes from; none when it is none of the run's
/// services.
pub fn at_home_in(base: &Path, peer: SocketAddrV4, here: SocketAddrV4) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let socket = PathBuf::from(format!("socket:[{}]", inode(&table, peer, here)?));
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(home) = home(base, &entry.path()) else { continue };
        // A process that ends meanwhile was another.
        let Ok(open) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        if open.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|held| held == socket)) {
            return Some(home);
        }
    }
    None
}

/// The directory under `base` that a process works in, also when it was removed under its feet.
fn home(base: &Path, process: &Path) -> Option<String> {
    let cwd = std::fs::read_link(process.join("cwd")).ok()?;
    let below = cwd.strip_prefix(base).ok()?;
    Some(below.components().next()?.as_os_str().to_str()?.to_string())
}

/// In the kernel's table the peer's own socket is the one whose local address is `peer`.
fn inode(table: &str, peer: SocketAddrV4, here: SocketAddrV4) -> Option<u64> {
    let (local, remote) = (as_in_table(peer), as_in_table(here));
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_it = fields.next()? == local && fields.next()? == remote;
        is_it.then(|| fields.nth(6)?.parse().ok()).flatten()
    })
}

fn as_in_table(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => unreachable!("bound to an IPv4 address"),
        }
    }

    #[test]
    fn a_connection_is_traced_to_the_directory_its_process_works_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = v4(listener.local_addr().unwrap());
        let stream = TcpStream::connect(here).unwrap();
        let peer = v4(stream.local_addr().unwrap());
        let cwd = std::env::current_dir().unwrap();
        let (base, name) = (cwd.parent().unwrap(), cwd.file_name().unwrap().to_str().unwrap());
        assert_eq!(at_home_in(base, peer, here).as_deref(), Some(name));
        assert_eq!(at_home_in(Path::new("/nowhere"), peer, here), None);
        drop(stream);
        assert_eq!(at_home_in(base, here, peer), None, "nobody connected the other way round");
    }

    #[test]
    fn the_table_of_the_kernel_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1538 0201007F:1539 01 00000000:00000000 00:00000000 00000000     0        0 1077 1 0 100 0\n";
        let (peer, here) = ("127.0.0.1:5432".parse().unwrap(), "127.0.1.2:5433".parse().unwrap());
        assert_eq!(inode(table, peer, here), Some(1077));
        assert_eq!(inode(table, here, peer), None);
    }
}
