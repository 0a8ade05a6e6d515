//! The access logs: which are open, for which listeners.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::access_log::Names;
use crate::log_writer::Writer;
use crate::model::{Listener, LogSink, Model};
use crate::snapshot::{ListenerView, LogView};

use super::start::StartError;

/// Longest wait at the end of the process until everything is written.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// Longest wait for what is given up then.
const GIVE_UP_MAX: Duration = Duration::from_millis(500);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(5);

/// The writers in use, by where they write. Listeners that name the same place share one.
#[derive(Debug, Default)]
pub(super) struct Logs {
    writers: HashMap<LogSink, Arc<Writer>>,
    /// Those that no listener names any more, while somebody may still write to them.
    leaving: Vec<Arc<Writer>>,
}

/// What [`open`] has opened.
pub(super) type Opened = Vec<(LogSink, Arc<Writer>)>;

/// Opens `places`. May wait for the disk.
///
/// # Errors
/// [`StartError::AccessLog`].
pub(super) fn open(places: HashSet<LogSink>) -> Result<Opened, StartError> {
    let open = |place: LogSink| {
        let fail = |source| StartError::AccessLog { place: place.to_string(), source };
        let writer = Writer::open(&place).map_err(fail)?;
        Ok((place, writer))
    };
    places.into_iter().map(open).collect()
}

impl Logs {
    /// Where `model` writes and no writer does yet: to be [opened](open).
    pub(super) fn missing(&self, model: &Model) -> HashSet<LogSink> {
        let logs = model.listeners.iter().filter_map(|listener| listener.access_log.as_ref());
        let places = logs.map(|log| &log.sink);
        places.filter(|place| !self.writers.contains_key(place)).cloned().collect()
    }

    /// Takes in what was opened; it stays until [`Logs::forget_unused`].
    pub(super) fn add(&mut self, opened: Opened) {
        self.writers.extend(opened);
    }

    /// Lets go of what no listener writes to. Its thread ends with the last connection that does.
    pub(super) fn forget_unused(&mut self, listeners: &[Option<Arc<ListenerView>>]) {
        let unused = self.writers.extract_if(|_, writer| {
            let logs = listeners.iter().flatten().filter_map(|listener| listener.log.as_ref());
            !logs.into_iter().any(|log| Arc::ptr_eq(&log.writer, writer))
        });
        self.leaving.extend(unused.map(|(_, writer)| writer));
    }

    /// Ends the threads of what nobody can write to any more. To be called now and then.
    pub(super) fn sweep(&mut self) {
        // Nobody else can get hold of what only we hold.
        self.leaving.retain(|writer| Arc::strong_count(writer) > 1);
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Writer>> {
        self.writers.values().chain(&self.leaving)
    }

    /// The log of `listener`, which listens on `address`.
    pub(super) fn view(&self, listener: &Listener, address: SocketAddr) -> Option<Arc<LogView>> {
        let log = listener.access_log.as_ref()?;
        let writer = self.writers.get(&log.sink)?.clone();
        let names = Names::new(&listener.name, listener.mode, address);
        Some(Arc::new(LogView { names, format: log.format, overflow: log.overflow, writer }))
    }

    /// Opens all files anew.
    pub(super) fn reopen(&self) {
        tracing::info!("opening the access logs anew");
        self.all().for_each(|writer| writer.reopen());
    }

    /// Waits until everything is written that the workers, who have ended, have handed over.
    pub(super) async fn close(&self) {
        self.all().for_each(|writer| writer.close());
        if !self.closes_within(CLOSE_MAX).await {
            self.all().for_each(|writer| writer.give_up());
            self.closes_within(GIVE_UP_MAX).await;
        }
        for writer in self.all() {
            let (place, lines) = (writer.sink(), writer.lines());
            if !writer.is_closed() {
                tracing::error!(%place, "the end of the access log could not be written in time");
            } else if lines.lost > 0 {
                tracing::error!(%place, lost = lines.lost, "lines of the access log were lost");
            }
        }
    }

    async fn closes_within(&self, limit: Duration) -> bool {
        let closed = async {
            while !self.all().all(|writer| writer.is_closed()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(limit, closed).await.is_ok()
    }
}
