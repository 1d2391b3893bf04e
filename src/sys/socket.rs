//! TCP from another network namespace. A socket stays in the one that it was made in, whoever uses it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use smol::Async;

/// Connects to `address` as seen in the namespace that is pinned at `netns`; None: in this process's own.
pub async fn connect(netns: Option<&Path>, address: SocketAddr) -> io::Result<Async<TcpStream>> {
    let socket = match netns {
        None => open(address)?,
        Some(netns) => {
            let netns = netns.to_owned();
            smol::unblock(move || open_in(&netns, address)).await?
        }
    };
    let connecting = rustix::net::connect(&socket, &address);
    let stream = Async::new_nonblocking(TcpStream::from(socket))?;
    match connecting {
        Ok(()) => return Ok(stream),
        Err(rustix::io::Errno::INPROGRESS) => stream.writable().await?,
        Err(error) => return Err(error.into()),
    }
    match stream.get_ref().take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

fn open(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}

/// A thread is in the namespace until it ends, so it is made for that.
fn open_in(netns: &Path, address: SocketAddr) -> io::Result<OwnedFd> {
    let netns = std::fs::File::open(netns)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("socket".into()).stack_size(64 * 1024);
        let entered = thread.spawn_scoped(scope, || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&netns), Some(LinkNameSpaceType::Network))?;
            open(address)
        })?;
        entered.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    })
}
