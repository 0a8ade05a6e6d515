//! The targets of one way, and the listeners in front of them.
//!
//! Every way gets targets of its own, so that what they saw came on that way. [`Purpose`] says
//! which listener is for what; on the direct way, clients go to the targets themselves.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::Error;
use super::target::{PROBE_PATH, Target, Targets, Wanted};

/// What an ordinary target of the slow group takes for an answer.
const QUICK: Duration = Duration::from_millis(1);
/// How many times as long its slow one takes.
pub(super) const TIMES_SLOWER: u32 = 50;

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Load: the given targets, or built-in ones.
    Load,
    /// Three applications, by path and host, where that can be.
    Many,
    /// One application, which is told of the client by the PROXY protocol.
    Announced,
    /// Three targets, one of them slow, in turn.
    Even,
    /// The same, by what is in flight.
    Least,
    /// Three targets, clients bound to one of them.
    Sticky,
    /// Three targets, probed, that may be killed.
    App,
}

impl Purpose {
    pub(super) const ALL: [Self; 7] =
        [Self::Load, Self::Many, Self::Announced, Self::Even, Self::Least, Self::Sticky, Self::App];

    /// Name of its listener.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Many => "many",
            Self::Announced => "announced",
            Self::Even => "even",
            Self::Least => "least",
            Self::Sticky => "sticky",
            Self::App => "app",
        }
    }
}

/// The targets of one way.
pub(super) struct Site {
    /// Where load goes: the given targets, or built-in ones.
    pub(super) load: Vec<SocketAddr>,
    pub(super) home: Target,
    pub(super) blog: Target,
    pub(super) shop: Target,
    /// The last one is slow.
    pub(super) even: [Target; 3],
    /// The same once more: what is in flight is counted by target, whatever its group.
    pub(super) least: [Target; 3],
    pub(super) sticky: [Target; 3],
    pub(super) app: [Target; 3],
    /// Keeps the built-in targets of the load open.
    _load: Vec<Target>,
}

impl Site {
    /// Opens the targets. Load goes to `given`, if there are any.
    ///
    /// # Errors
    /// If a target cannot be had.
    pub(super) fn open(targets: &Targets, given: &[SocketAddr]) -> Result<Self, Error> {
        let open =
            |application, delay, mortal| targets.open(&Wanted { application, delay, mortal });
        let quick = |application| open(application, Duration::ZERO, false);
        let three = |name, mortal| -> Result<[Target; 3], Error> {
            let one = || open(name, Duration::ZERO, mortal);
            Ok([one()?, one()?, one()?])
        };
        let built_in = match given {
            [] => vec![quick("load")?, quick("load")?],
            _ => Vec::new(),
        };
        let load = match given {
            [] => built_in.iter().map(|target| target.address).collect(),
            given => given.to_vec(),
        };
        let uneven = |name| -> Result<[Target; 3], Error> {
            let quick = || open(name, QUICK, false);
            Ok([quick()?, quick()?, open(name, QUICK * TIMES_SLOWER, false)?])
        };
        Ok(Self {
            load,
            home: quick("home")?,
            blog: quick("blog")?,
            shop: quick("shop")?,
            even: uneven("even")?,
            least: uneven("least")?,
            sticky: three("sticky", false)?,
            app: three("app", true)?,
            _load: built_in,
        })
    }

    /// Where clients go who know of no balancer.
    pub(super) fn addresses(&self, purpose: Purpose) -> Vec<SocketAddr> {
        match purpose {
            Purpose::Load => self.load.clone(),
            Purpose::Many | Purpose::Announced => vec![self.home.address],
            Purpose::Even => addresses(&self.even),
            Purpose::Least => addresses(&self.least),
            Purpose::Sticky => addresses(&self.sticky),
            Purpose::App => addresses(&self.app),
        }
    }

    /// Groups of targets by name.
    pub(super) fn groups(&self) -> [(&'static str, Vec<SocketAddr>); 8] {
        [
            ("load", self.load.clone()),
            ("home", vec![self.home.address]),
            ("blog", vec![self.blog.address]),
            ("shop", vec![self.shop.address]),
            ("even", addresses(&self.even)),
            ("least", addresses(&self.least)),
            ("sticky", addresses(&self.sticky)),
            ("app", addresses(&self.app)),
        ]
    }

    /// The configuration of a ringway whose listeners are all in this mode, on free ports.
    pub(super) fn configuration(&self, mode: &str, control: &str) -> String {
        let mut text = format!("[server]\nworkers = 1\ncontrol = {{ socket = {control:?} }}\n");
        for (name, targets) in self.groups() {
            let list: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
            let _ = writeln!(
                text,
                "\n[[target_groups]]\nname = \"{name}\"\ntargets = [{}]\n{}",
                list.join(", "),
                group_keys(name, mode)
            );
        }
        for purpose in Purpose::ALL {
            let name = purpose.name();
            let group = match purpose {
                Purpose::Many | Purpose::Announced => "home",
                _ => name,
            };
            let _ = writeln!(
                text,
                "\n[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\nmode = \"{mode}\"\n\
                 default = {{ forward = \"{group}\" }}"
            );
            match (purpose, mode) {
                (Purpose::Announced, "l4") => text += "proxy_protocol = \"v1\"\n",
                (Purpose::Many, "l7") => {
                    text += "h2c = true\n";
                    text += RULES;
                }
                _ => {}
            }
        }
        text
    }
}

/// The applications of [`Purpose::Many`] besides the default one.
const RULES: &str = "
[[listeners.rules]]
priority = 10
path_pattern = [\"/blog/*\"]
forward = \"blog\"

[[listeners.rules]]
priority = 20
host_header = [\"shop.example\"]
forward = \"shop\"
";

/// Keys of a group besides its name and its targets.
fn group_keys(name: &str, mode: &str) -> String {
    let unprobed = "health_check = { enabled = false }";
    match (name, mode) {
        ("app", _) => format!(
            "health_check = {{ path = \"{PROBE_PATH}\", interval = \"1s\", timeout = \"500ms\" }}"
        ),
        ("least", _) => format!("algorithm = \"least_outstanding_requests\"\n{unprobed}"),
        ("sticky", "l4") => format!("stickiness = {{ type = \"source_ip\" }}\n{unprobed}"),
        ("sticky", _) => format!("stickiness = {{ type = \"lb_cookie\" }}\n{unprobed}"),
        _ => unprobed.into(),
    }
}

fn addresses(targets: &[Target]) -> Vec<SocketAddr> {
    targets.iter().map(|target| target.address).collect()
}
