//! What single requests show.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use crate::compare::Error;
use crate::compare::ask::{self, Asker};
use crate::compare::findings::{Applications, Binding, ClientAddress, Head, Stickiness};
use crate::compare::site::Purpose;
use crate::compare::way::Way;

use super::failed;

/// The client of rows that need only one. Not 127.0.0.1, which a balancer would appear as.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Requests that are sent on one connection.
const BINDING_REQUESTS: usize = 12;
/// Clients that come back, and how often each does.
const CLIENTS: u8 = 8;
const RETURNS: usize = 5;
/// Fields of the request that is looked at on both ends. One belongs to its connection alone.
const FIELDS: &str = "user-agent: compare\r\nX-Lines:  kept as they are? \r\n\
                      Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nAccept: */*\r\n";

/// Where a client goes for this purpose; a client that has to choose takes them in turn.
pub(super) fn address(way: &Way, purpose: Purpose, turn: usize) -> Result<SocketAddr, Error> {
    let addresses = way.addresses(purpose);
    let address = addresses.get(turn % addresses.len().max(1)).copied();
    address.ok_or_else(|| failed(io::Error::other("there is no listener for it")))
}

/// How many targets the requests of one connection reach.
pub(super) fn binding(way: &Way) -> Result<Binding, Error> {
    let address = address(way, Purpose::App, 0)?;
    let mut asker = Asker::connect(address, CLIENT).map_err(failed)?;
    let mut targets = BTreeSet::new();
    for _ in 0..BINDING_REQUESTS {
        let response = asker.get("/", "home.example", "").map_err(failed)?;
        targets.extend(response.field("x-target").map(str::to_owned));
    }
    Ok(Binding { requests: BINDING_REQUESTS, targets: targets.len() })
}

/// What the target sees of a request, and of its client.
pub(super) fn head(way: &Way) -> Result<(Head, ClientAddress), Error> {
    let (path, host) = ("/echo", "home.example");
    let sent = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{FIELDS}\r\n");
    let (socket, _, received) = echoed(address(way, Purpose::Many, 0)?)?;
    let proxy_protocol = match address(way, Purpose::Announced, 0) {
        Ok(address) => echoed(address)?.1,
        Err(_) => None,
    };
    let forwarded_for = ask::field(&received, "x-forwarded-for").map(str::to_owned);
    let client = CLIENT.to_string();
    let address = ClientAddress { client, socket, forwarded_for, proxy_protocol };
    Ok((difference(&sent, &received), address))
}

/// The peer, the PROXY line and the head that the target saw.
fn echoed(address: SocketAddr) -> Result<(String, Option<String>, String), Error> {
    let mut asker = Asker::connect(address, CLIENT).map_err(failed)?;
    let response = asker.get("/echo", "home.example", FIELDS).map_err(failed)?;
    let mut parts = response.body.splitn(3, '\n');
    let (peer, proxy, head) = (parts.next(), parts.next(), parts.next());
    let peer = peer.and_then(|peer| peer.parse::<SocketAddr>().ok());
    let (Some(peer), Some(proxy), Some(head)) = (peer, proxy, head) else {
        return Err(failed(io::ErrorKind::InvalidData.into()));
    };
    let proxy = (proxy != "-").then(|| proxy.to_owned());
    Ok((peer.ip().to_string(), proxy, head.to_owned()))
}

/// How two heads differ, line by line. Lines that only changed places are not told.
fn difference(sent: &str, received: &str) -> Head {
    let lines = |head: &str| -> Vec<String> {
        head.split("\r\n").filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let (ours, theirs) = (lines(sent), lines(received));
    let only = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(|line| !others.contains(line)).cloned().collect()
    };
    let (removed, added) = (only(&ours, &theirs), only(&theirs, &ours));
    // Each line with its end.
    let changed = removed.iter().chain(&added).map(|line| line.len() + 2).sum();
    Head {
        sent_bytes: sent.len(),
        received_bytes: received.len(),
        changed_bytes: changed,
        added,
        removed,
    }
}

/// Which applications answer at one address: asked for by path, by host, and by neither.
pub(super) fn applications(way: &Way) -> Result<Applications, Error> {
    let requests = [("/", "home.example"), ("/blog/", "home.example"), ("/", "shop.example")];
    let address = address(way, Purpose::Many, 0)?;
    let mut reached = BTreeSet::new();
    for (path, host) in requests {
        let mut asker = Asker::connect(address, CLIENT).map_err(failed)?;
        let response = asker.get(path, host, "").map_err(failed)?;
        reached.extend(response.field("x-application").map(str::to_owned));
    }
    Ok(Applications { asked: requests.len(), reached: reached.into_iter().collect() })
}

/// What becomes of clients that come back, each time on a new connection.
pub(super) fn stickiness(way: &Way) -> Result<Stickiness, Error> {
    let own_address = |client: u8| Ipv4Addr::new(127, 0, 1, client);
    let (mut kept, mut kept_without, mut by) = (0, 0, None);
    for client in 1..=CLIENTS {
        let source = own_address(client);
        let (targets, cookie) = returns(way, Purpose::Sticky, source)?;
        kept += same_as_first(&targets);
        by = by.or(cookie);
        kept_without += same_as_first(&returns(way, Purpose::App, source)?.0);
    }
    let mut targets = BTreeSet::new();
    for _ in 0..CLIENTS {
        targets.extend(returns(way, Purpose::Sticky, CLIENT)?.0.into_iter().take(1));
    }
    let all = usize::from(CLIENTS) * RETURNS;
    Ok(Stickiness {
        kept_share: kept as f64 / all as f64,
        kept_share_without: kept_without as f64 / all as f64,
        by: by.map_or_else(|| "address".into(), |name| format!("cookie {name}")),
        clients: CLIENTS.into(),
        targets: targets.len(),
    })
}

/// The targets that answered a client with a cookie jar, in order, and the name of a cookie.
fn returns(
    way: &Way,
    purpose: Purpose,
    source: Ipv4Addr,
) -> Result<(Vec<String>, Option<String>), Error> {
    let address = address(way, purpose, 0)?;
    let (mut targets, mut jar) = (Vec::new(), String::new());
    for _ in 0..=RETURNS {
        let mut asker = Asker::connect(address, source).map_err(failed)?;
        let cookie = if jar.is_empty() { String::new() } else { format!("Cookie: {jar}\r\n") };
        let response = asker.get("/", "home.example", &cookie).map_err(failed)?;
        targets.extend(response.field("x-target").map(str::to_owned));
        if let [first, ..] = response.cookies().as_slice() {
            jar = (*first).to_owned();
        }
    }
    let name = jar.split_once('=').map(|(name, _)| name.to_owned());
    Ok((targets, name))
}

fn same_as_first(targets: &[String]) -> usize {
    targets.iter().skip(1).filter(|target| targets.first() == Some(target)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_compared_line_by_line() {
        let same = difference("GET / HTTP/1.1\r\nA: 1\r\n\r\n", "GET / HTTP/1.1\r\nA: 1\r\n\r\n");
        assert_eq!((same.changed_bytes, same.sent_bytes), (0, 24));
        let other = difference("GET / HTTP/1.1\r\nA: 1\r\n\r\n", "GET / HTTP/1.1\r\nBc: 1\r\n\r\n");
        assert_eq!((other.removed, other.added), (vec!["A: 1".into()], vec!["Bc: 1".into()]));
        assert_eq!(other.changed_bytes, 6 + 7);
    }
}
