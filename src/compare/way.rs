//! A way to the targets: a balancer and the listeners in front of them, or nothing at all.

use std::net::SocketAddr;

use super::balancer::Balancer;
use super::site::{Purpose, Site};

/// A column of the comparison.
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) site: Site,
    /// `None` on the direct way.
    pub(super) balancer: Option<Balancer>,
}

impl Way {
    /// Where clients go; empty if this way has nothing for the purpose.
    pub(super) fn addresses(&self, purpose: Purpose) -> Vec<SocketAddr> {
        match (&self.balancer, purpose) {
            // Nobody announces a client on the direct way.
            (None, Purpose::Announced) => Vec::new(),
            (None, purpose) => self.site.addresses(purpose),
            (Some(balancer), purpose) => balancer.address(purpose).into_iter().collect(),
        }
    }

    /// The process that is measured.
    pub(super) fn process(&self) -> Option<u32> {
        self.balancer.as_ref().map(Balancer::id)
    }
}
