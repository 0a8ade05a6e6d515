//! What happens, told to the log and to whoever listens to events.
//!
//! By a task of its own and in order, a few at a time: a thousand targets that begin to drain
//! make ten milliseconds of log lines, and the next health flip must not wait for them.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;

use super::handle::{Event, Handle};

/// Most news that wait to be told: the turns of all targets, several times over. What happens
/// beyond is told at once, before them.
const WAITING_MAX: usize = 16 * 1024;
/// News that are told before anything else has its turn.
const TOLD_AT_ONCE_MAX: usize = 32;

/// Where what happens is said.
#[derive(Debug)]
pub(super) struct News {
    waiting: mpsc::Sender<Event>,
    teller: JoinHandle<()>,
    handle: Handle,
}

impl News {
    /// Tells those who listen at `handle`. Must be called within a tokio runtime.
    pub(super) fn new(handle: Handle) -> Self {
        let (waiting, news) = mpsc::channel(WAITING_MAX);
        let teller = tokio::spawn(tell_all(news, handle.clone()));
        Self { waiting, teller, handle }
    }

    pub(super) fn tell(&self, event: Event) {
        match self.waiting.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Full(event) | TrySendError::Closed(event)) => {
                tell(event, &self.handle)
            }
        }
    }

    /// Where the actor is reached.
    #[cfg(test)]
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Resolves once all has been told.
    pub(super) async fn end(self) {
        drop(self.waiting);
        // If it has panicked, the log says so.
        let _ = self.teller.await;
    }
}

async fn tell_all(mut news: mpsc::Receiver<Event>, handle: Handle) {
    let mut some = Vec::with_capacity(TOLD_AT_ONCE_MAX);
    while news.recv_many(&mut some, TOLD_AT_ONCE_MAX).await > 0 {
        some.drain(..).for_each(|event| tell(event, &handle));
        tokio::task::yield_now().await;
    }
}

fn tell(event: Event, handle: &Handle) {
    match &event {
        Event::Health { target_group, target, from, to, reason, .. } => {
            let reason = reason.as_deref();
            tracing::info!(target_group, %target, %from, %to, reason, "target health");
        }
        Event::Drained { target_group, target, .. } => {
            tracing::info!(%target_group, %target, "drained");
        }
        Event::Configured { generation, by, .. } => {
            tracing::info!(generation, by, "configuration in force");
        }
        Event::Refused { by, problems, .. } => {
            tracing::warn!(by, ?problems, "change refused; the configuration stays");
        }
        // The log has said why.
        Event::Stopping { .. } => {}
    }
    handle.tell(event);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_are_told_in_order_and_none_is_lost_at_the_end() {
        let (handle, _inbox) = Handle::new();
        let mut events = handle.events();
        let news = News::new(handle.clone());
        for time in 0..1_000 {
            news.tell(Event::Stopping { time });
        }
        assert!(events.try_recv().is_err(), "whoever tells does not wait");
        news.end().await;
        for expected in 0..1_000 {
            assert!(matches!(events.try_recv(), Ok(Event::Stopping { time }) if time == expected));
        }
    }
}
