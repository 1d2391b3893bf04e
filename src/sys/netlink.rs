//! The kernel's news about links, addresses and routes (rtnetlink(7)).

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use smol::{Async, Timer};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

// Message types and groups of <linux/rtnetlink.h>.
const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GROUP_LINK: u32 = 0x1;
const GROUP_IPV4_ADDRESS: u32 = 0x10;
const GROUP_IPV4_ROUTE: u32 = 0x40;
const GROUP_IPV6_ADDRESS: u32 = 0x100;
const GROUP_IPV6_ROUTE: u32 = 0x400;

/// Message header, `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct ifinfomsg`.
const LINK_BODY: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;
const IFF_LOWER_UP: u32 = 0x1_0000;

/// Interfaces whose state is remembered; one more is always news.
const MOST_LINKS: usize = 128;
/// A burst is over after this much quiet, and a report is made after this much in any case.
const QUIET: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(1);

/// A stream of "the network changed".
pub struct Changes {
    socket: Async<OwnedFd>,
    /// Up and running flags by interface index: wireless interfaces repeat themselves all the time.
    links: BTreeMap<u32, u32>,
    /// When the burst that is not yet reported began. A field, so that `next` can be dropped.
    since: Option<Instant>,
}

/// Listens to links, addresses and routes of the current network namespace.
pub fn changes() -> io::Result<Changes> {
    let groups = GROUP_LINK | GROUP_IPV4_ADDRESS | GROUP_IPV4_ROUTE | GROUP_IPV6_ADDRESS | GROUP_IPV6_ROUTE;
    let socket = open(groups)?;
    Ok(Changes { socket: Async::new(socket)?, links: BTreeMap::new(), since: None })
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    // No protocol is protocol 0, NETLINK_ROUTE.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

impl Changes {
    /// Waits for a change that can matter to a connection: an interface went up or down, an address
    /// or a route came or went. Bursts are one change (quiet for 250 ms, 1 s at most). What pods'
    /// own interfaces do is left out. Cancel-safe.
    pub async fn next(&mut self) -> io::Result<()> {
        loop {
            let Some(since) = self.since else {
                self.socket.readable().await?;
                if self.drain()? {
                    self.since = Some(Instant::now());
                }
                continue;
            };
            let end = (Instant::now() + QUIET).min(since + LONGEST);
            let timer = Timer::at(end);
            let quiet = async {
                timer.await;
                Ok(true)
            };
            // Both arms are cancel-safe: one waits for readiness only, the other for a time.
            let readable = async { self.socket.readable().await.map(|()| false) };
            if futures_lite::future::or(quiet, readable).await? {
                self.since = None;
                return Ok(());
            }
            self.drain()?;
        }
    }

    /// Reads all that is there. Whether anything of it matters.
    fn drain(&mut self) -> io::Result<bool> {
        let mut matters = false;
        let mut buffer = [0u8; 4096];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((read, _)) => matters |= self.take_in(buffer.get(..read).unwrap_or(&buffer)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(matters),
                // Messages were lost, which is a change as far as anybody knows.
                Err(rustix::io::Errno::NOBUFS) => {
                    self.links.clear();
                    matters = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether one datagram, of one or more messages, matters.
    fn take_in(&mut self, mut datagram: &[u8]) -> bool {
        let mut matters = false;
        while let Some(length) = u32_at(datagram, 0).map(|l| l as usize) {
            let (Some(kind), Some(message)) = (u16_at(datagram, 4), datagram.get(HEADER..length)) else {
                break;
            };
            matters |= match kind {
                NEWLINK => self.link_matters(message),
                DELLINK => u32_at(message, 4).is_some_and(|index| self.links.remove(&index).is_some()),
                // Scope 253 is the link's own (fe80::/10), which every veth gets.
                NEWADDR | DELADDR => message.get(3).is_some_and(|scope| *scope < 253),
                NEWROUTE | DELROUTE => route_matters(message),
                _ => false,
            };
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        matters
    }

    fn link_matters(&mut self, message: &[u8]) -> bool {
        let (Some(index), Some(flags)) = (u32_at(message, 4), u32_at(message, 8)) else { return false };
        let attributes = message.get(LINK_BODY..).unwrap_or(&[]);
        // The port of a bridge carries no address of this machine: most are pods'.
        if attribute(attributes, IFLA_MASTER).is_some() {
            self.links.remove(&index);
            return false;
        }
        // Before it becomes a port it is news too, so leave out what CNI plugins call theirs.
        if attribute(attributes, IFLA_IFNAME).is_some_and(is_pod_veth) {
            return false;
        }
        let state = flags & (IFF_UP | IFF_RUNNING | IFF_LOWER_UP);
        if self.links.len() >= MOST_LINKS && !self.links.contains_key(&index) {
            return true;
        }
        self.links.insert(index, state) != Some(state)
    }
}

/// `veth` and eight hexadecimal digits, as the bridge and ptp plugins name the host's end.
fn is_pod_veth(name: &[u8]) -> bool {
    let name = name.strip_suffix(b"\0").unwrap_or(name);
    name.strip_prefix(b"veth").is_some_and(|rest| rest.len() == 8 && rest.iter().all(u8::is_ascii_hexdigit))
}

/// `struct rtmsg`: table at 4, type at 7.
fn route_matters(message: &[u8]) -> bool {
    const TABLE_LOCAL: u8 = 255;
    const UNICAST: u8 = 1;
    let (Some(family), Some(bits), Some(table), Some(kind)) =
        (message.first(), message.get(1), message.get(4), message.get(7))
    else {
        return false;
    };
    // fe80::/64 comes with every interface.
    let link_local = *family == 10
        && *bits == 64
        && attribute(message.get(12..).unwrap_or(&[]), 1).is_some_and(|d| d.starts_with(&[0xfe, 0x80]));
    *table != TABLE_LOCAL && *kind == UNICAST && !link_local
}

/// The value of the first attribute of type `wanted` (`struct rtattr`, aligned to 4).
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(rest, 0)?);
        let value = rest.get(4..length)?;
        if u16_at(rest, 2)? == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Brings the loopback interface of the calling thread's network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    // The loopback device is the first of every namespace.
    request(NEWLINK, 1, IFF_UP, &[])
}

/// Deletes an interface of the calling thread's network namespace. Whether there was one.
pub fn delete_link(name: &str) -> io::Result<bool> {
    const ENODEV: i32 = 19;
    let length = 4 + name.len() + 1;
    let mut attribute = Vec::with_capacity(length.next_multiple_of(4));
    attribute.extend(u16::try_from(length).map_err(io::Error::other)?.to_ne_bytes());
    attribute.extend(IFLA_IFNAME.to_ne_bytes());
    attribute.extend(name.as_bytes());
    attribute.resize(length.next_multiple_of(4), 0);
    match request(DELLINK, 0, 0, &attribute) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// One request about a link, and its acknowledgement. Index 0: the link is named in the attributes.
fn request(kind: u16, index: i32, flags: u32, attributes: &[u8]) -> io::Result<()> {
    const REQUEST_AND_ACK: u16 = 0x1 | 0x4;
    let socket = open(0)?;
    let mut message = Vec::with_capacity(HEADER + LINK_BODY + attributes.len());
    message.extend(((HEADER + LINK_BODY + attributes.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]); // sequence number and port: one question, one answer
    message.extend([0; 4]); // family, padding, type
    message.extend(index.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(flags.to_ne_bytes()); // which of them to change
    message.extend(attributes);
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0u8; 256];
    let (read, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    // NLMSG_ERROR: a negative errno, 0 for an acknowledgement.
    match u32_at(answer.get(..read).unwrap_or(&[]), HEADER).map(|code| code as i32) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
#[path = "netlink_tests.rs"]
mod tests;
