//! Whether clients may be sent here.
//!
//! Yes, if connections are taken, every worker's loop turns, the first health of the targets is
//! known and the process does not drain. Unhealthy targets are no reason against it: a front that
//! asks would take every balancer out at once for one broken service, where failing open or an
//! honest 503 serves the others.

use tokio::sync::oneshot;

use super::FIRST_HEALTH_MAX;
use super::actor::Actor;

impl Actor {
    /// Answers without holding up the actor.
    pub(super) fn answer_ready(&self, reply: oneshot::Sender<Result<(), String>>) {
        if let Some(why) = self.not_ready() {
            // Whoever asked may have gone.
            let _ = reply.send(Err(why.into()));
            return;
        }
        let alive = self.workers.are_alive();
        tokio::spawn(async move {
            let stuck = |worker| format!("worker {worker} does not answer");
            let _ = reply.send(alive.await.map_err(stuck));
        });
    }

    fn not_ready(&self) -> Option<&'static str> {
        let in_time = self.started.elapsed() < FIRST_HEALTH_MAX;
        match () {
            () if self.draining => Some("draining"),
            () if self.successor.is_some() => Some("the process before still serves"),
            () if in_time && self.registry.has_initial() => Some("targets are being probed"),
            () => None,
        }
    }
}
