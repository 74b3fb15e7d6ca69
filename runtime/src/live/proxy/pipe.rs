//! Carries bytes between two sockets for as long as their link lets them through.

use super::links::Way;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What a base backup profits from.
const CHUNK: usize = 64 << 10;

/// Ends when both sides have said all they had to say, or one of them is gone.
pub async fn join(guest: TcpStream, server: TcpStream, there: Way, back: Way) {
    let (guest_reads, guest_writes) = guest.into_split();
    let (server_reads, server_writes) = server.into_split();
    // An error of one direction drops the other; what each end then sees is what the death of its peer looks like.
    let _gone = tokio::try_join!(carry(guest_reads, server_writes, there), carry(server_reads, guest_writes, back));
}

/// The end of a stream is told only as far as bytes would get: a cut hides it as well.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: Way) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        way.open().await;
        let read = from.read(&mut chunk).await;
        tokio::time::sleep(way.slower_by()).await;
        way.open().await;
        match read? {
            0 => return to.shutdown().await,
            n => to.write_all(&chunk[..n]).await?,
        }
    }
}
