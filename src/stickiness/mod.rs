//! Stickiness: binds a client to the target, or to the target group, that it got first.
//!
//! By a cookie of ours, whose value is sealed ([`mod@seal`]: what it says; [`cookie`]: where it
//! stands in heads), or for L4 by the address of the client ([`source_ip`]). What comes back is
//! only taken at its word if it was sealed here, for the same group, and not too long ago;
//! everything else means that the algorithm of the group chooses anew. Nothing here remembers a
//! client.
//!
//! All of it is pure but [`keys`], which keeps the keys in a file and which only the control
//! thread may call. For one exchange: [`cookie::offered`], [`open`], [`bound_target`]; then
//! [`due`], [`seal()`], [`cookie::set`].
//!
//! Source: AWS "Sticky sessions for your Application Load Balancer".

pub mod cookie;
mod hash;
pub mod keys;
pub mod seal;
pub mod source_ip;

use std::net::SocketAddr;

use crate::model::Stickiness;

pub use keys::{KeyError, Keys};
pub use seal::{Nonce, Sealed, open, seal};

/// What a cookie is for, and so what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Stickiness of a target group, `lb_cookie`: `AWSALB` and `AWSALBCORS`.
    Lb,
    /// Stickiness of a target group, `app_cookie`: `AWSALBAPP-0`.
    App,
    /// Stickiness of a forward action with several groups: `AWSALBTG` and `AWSALBTGCORS`.
    Group,
}

/// Where a cookie counts: its kind, and the target group or the groups of the forward action.
/// A cookie sealed for one scope opens in no other. Made once per snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    kind: Kind,
    /// Authenticated with the value, never sent: version, kind, and each name behind its length.
    associated: Box<[u8]>,
}

impl Scope {
    /// The scope of the cookies of a target group of this name; `None` where its stickiness uses
    /// no cookie.
    #[must_use]
    pub fn of_group(name: &str, stickiness: &Stickiness) -> Option<Self> {
        match stickiness {
            Stickiness::Off | Stickiness::SourceIp => None,
            Stickiness::LbCookie(_) => Some(Self::new(Kind::Lb, &[name])),
            Stickiness::AppCookie { .. } => Some(Self::new(Kind::App, &[name])),
        }
    }

    /// The scope of the cookies of a forward action over the groups of these names, in any order
    /// and whatever their weights. One group more or less is another scope.
    #[must_use]
    pub fn of_forward(names: &[&str]) -> Self {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        Self::new(Kind::Group, &names)
    }

    /// Which cookies it is about.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn new(kind: Kind, names: &[&str]) -> Self {
        let kind_byte = match kind {
            Kind::Lb => 1,
            Kind::App => 2,
            Kind::Group => 3,
        };
        let mut associated = vec![seal::VERSION, kind_byte];
        for name in names {
            associated.extend_from_slice(&(name.len() as u64).to_le_bytes());
            associated.extend_from_slice(name.as_bytes());
        }
        Self { kind, associated: associated.into() }
    }
}

/// What a client is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A target of the scope's group.
    Target(SocketAddr),
    /// A group of the scope's forward action.
    Group(GroupKey),
}

/// Stands for a target group in a cookie: a hash of its name, the same in every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupKey(u64);

impl GroupKey {
    /// The key of the target group of this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(hash::bytes(name.as_bytes()))
    }
}

/// The index of the target that the client is bound to, or `None` to choose anew.
///
/// `routable` holds index and address of every target that a request may go to now: healthy and
/// not draining, or, when failing open, all that are not draining. Weights do not matter, as a
/// weight of zero keeps only new clients away.
#[must_use]
pub fn bound_target(
    bound: Bound,
    routable: impl IntoIterator<Item = (usize, SocketAddr)>,
) -> Option<usize> {
    match bound {
        Bound::Target(address) => {
            let found = routable.into_iter().find(|&(_, routable)| routable == address);
            found.map(|(index, _)| index)
        }
        Bound::Group(_) => None,
    }
}

/// The place in `groups`, those of a forward action, of the group that the client is bound to, or
/// `None` to choose anew by weight. A group of weight 0 keeps the clients that it has, and a group
/// without usable targets too: groups do not fail over to one another.
#[must_use]
pub fn bound_group(bound: Bound, groups: &[GroupKey]) -> Option<usize> {
    match bound {
        Bound::Group(key) => groups.iter().position(|&group| group == key),
        Bound::Target(_) => None,
    }
}

/// Whether the response of a target brings the cookie of its group's stickiness.
///
/// - `opened`: whether the request brought a cookie that opened, also one whose target is gone:
///   it is renewed, or replaced by one for the target that was chosen instead.
/// - `sets_app_cookie`: asked for `app_cookie` only; see [`cookie::is_set`].
#[must_use]
pub fn due(stickiness: &Stickiness, opened: bool, sets_app_cookie: impl FnOnce() -> bool) -> bool {
    match stickiness {
        Stickiness::Off | Stickiness::SourceIp => false,
        Stickiness::LbCookie(_) => true,
        Stickiness::AppCookie { .. } => opened || sets_app_cookie(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn client_goes_back_to_its_target_only_while_that_is_routable() {
        let routable = || [(0, address(1)), (2, address(3))];
        for (port, index) in [(1, Some(0)), (2, None), (3, Some(2))] {
            assert_eq!(bound_target(Bound::Target(address(port)), routable()), index, "{port}");
        }
        assert_eq!(bound_target(Bound::Group(GroupKey::of("a")), routable()), None);
        assert_eq!(bound_target(Bound::Target(address(1)), []), None);
    }

    #[test]
    fn client_goes_back_to_its_group_only_while_the_rule_names_it() {
        let groups = ["blue", "green"].map(GroupKey::of);
        for (name, index) in [("blue", Some(0)), ("green", Some(1)), ("red", None)] {
            assert_eq!(bound_group(Bound::Group(GroupKey::of(name)), &groups), index, "{name}");
        }
        assert_eq!(bound_group(Bound::Target(address(1)), &groups), None);
    }

    #[test]
    fn application_decides_when_its_clients_become_sticky() {
        let hour = Duration::from_secs(3600);
        let app = Stickiness::AppCookie { name: "id".into(), duration: hour };
        let cases = [
            (Stickiness::Off, true, true, false),
            (Stickiness::SourceIp, true, true, false),
            (Stickiness::LbCookie(hour), false, false, true),
            (app.clone(), false, false, false),
            (app.clone(), false, true, true),
            (app, true, false, true),
        ];
        for (stickiness, opened, sets, expected) in cases {
            assert_eq!(due(&stickiness, opened, || sets), expected, "{stickiness:?}");
        }
    }

    #[test]
    fn scopes_differ_by_kind_and_by_the_set_of_groups() {
        let hour = Duration::from_secs(3600);
        let app = Stickiness::AppCookie { name: "id".into(), duration: hour };
        let lb = Scope::of_group("a", &Stickiness::LbCookie(hour)).unwrap();
        assert_eq!(Scope::of_group("a", &Stickiness::SourceIp), None);
        assert_ne!(lb.associated, Scope::of_group("a", &app).unwrap().associated);
        let forward = |names: &[&str]| Scope::of_forward(names);
        assert_ne!(lb.associated, forward(&["a"]).associated);
        assert_eq!(forward(&["a", "b"]), forward(&["b", "a"]));
        for other in [&["a"][..], &["a", "b", "c"], &["ab"], &["", "ab"]] {
            assert_ne!(forward(&["a", "b"]), forward(other), "{other:?}");
        }
    }
}
