//! One core: a pinned thread with its own ring that accepts connections and serves them.
//!
//! A connection lives and dies on one worker: that which accepted it, or one with fewer. What
//! comes from outside is in the inbox: new snapshots, the order to drain, the order to stop. Start
//! with [`run`].

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::log_writer::Pens;
use crate::mailbox::{Draining, Inbox, Message, OpenInbox, Peers, Report};
use crate::metrics::{Counter, Counters};
use crate::net::ring::{self, Engine};
use crate::net::{self, Acceptor, Listening, Socket, Tag};
use crate::proxy::{self, Local, Share};
use crate::snapshot::{ListenerId, Snapshot};
use crate::span::Span;

/// Pause of a listener that cannot take connections, most often because files have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often idle pools are looked through and memory is given back.
const SWEEP: Duration = Duration::from_secs(1);
/// How often a draining worker looks whether it is done.
const DRAIN_CHECK: Duration = Duration::from_millis(10);
/// Time for connections that have been cut to close.
const CUT_GRACE: Duration = Duration::from_millis(200);

/// What a worker starts with.
pub struct Setup {
    /// Number of the worker, from 0.
    pub index: usize,
    /// Core to pin it to, if any.
    pub core: Option<core_affinity::CoreId>,
    /// What to run on.
    pub engine: Engine,
    /// Its listening sockets.
    pub listeners: Vec<(ListenerId, OwnedFd)>,
    /// What to act on.
    pub snapshot: Arc<Snapshot>,
    /// What control says.
    pub inbox: Inbox,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// The workers of the process.
    pub peers: Peers,
    /// Where spans of requests go.
    pub spans: mpsc::Sender<Vec<Span>>,
    /// Counts on once a second for as long as the worker's loop turns, for the watchdog.
    pub beat: Arc<Counter>,
    /// Told once it listens, or why it cannot.
    pub ready: oneshot::Sender<io::Result<()>>,
}

/// Runs a worker on the calling thread until it is told to end.
pub fn run(setup: Setup) {
    let Setup { index, core, engine, listeners, snapshot, inbox, .. } = setup;
    let Setup { counters, peers, spans, beat, ready, .. } = setup;
    if let Some(core) = core
        && !core_affinity::set_for_current(core)
    {
        tracing::warn!(worker = index, core = core.id, "cannot pin the worker to its core");
    }
    let mut runtime = match ring::build(engine) {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async move {
        match open(inbox, listeners) {
            Ok(Opened { inbox, acceptors, pens, room }) => {
                // Control may have given up meanwhile; the inbox says so.
                let _ = ready.send(Ok(()));
                let share = Share { worker: index, workers: peers.count() };
                let local = Rc::new(Local::new(engine, snapshot, counters, pens, share));
                net::spawn(take_batches_back(local.clone(), room));
                net::spawn(sweep(local.clone(), beat));
                net::spawn(tick(local.clone(), spans.clone()));
                serve(local.clone(), inbox, acceptors, Rc::new(peers)).await;
                hand_over(&local, &spans);
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

type Acceptors = Vec<(ListenerId, Acceptor)>;

/// What the worker waits on, bound to its ring.
struct Opened {
    inbox: OpenInbox,
    acceptors: Acceptors,
    pens: Pens,
    /// Rings when there is room for lines of access logs again.
    room: Listening,
}

fn open(inbox: Inbox, listeners: Vec<(ListenerId, OwnedFd)>) -> io::Result<Opened> {
    let acceptors = listeners.into_iter().map(|(id, fd)| Ok((id, Acceptor::new(fd)?)));
    let acceptors = acceptors.collect::<io::Result<_>>()?;
    let (pens, room) = Pens::new()?;
    Ok(Opened { inbox: inbox.open()?, acceptors, pens, room: room.listen()? })
}

/// Wakes exchanges that wait for room in an access log.
async fn take_batches_back(local: Rc<Local>, mut room: Listening) {
    while room.wait().await.is_ok() {
        local.pens.take_back();
    }
}

/// Does what is to be done every tick, for as long as the worker lives.
async fn tick(local: Rc<Local>, spans: mpsc::Sender<Vec<Span>>) {
    loop {
        net::sleep(net::TICK).await;
        local.alarms.tick();
        local.pens.flush();
        hand_over(&local, &spans);
    }
}

/// Gives the spans that were gathered to control.
fn hand_over(local: &Local, spans: &mpsc::Sender<Vec<Span>>) {
    let gathered = local.take_spans();
    let count = gathered.len();
    if count > 0 && spans.try_send(gathered).is_err() {
        local.counters.spans_dropped.add(count as u64);
    }
}

async fn serve(local: Rc<Local>, mut inbox: OpenInbox, acceptors: Acceptors, peers: Rc<Peers>) {
    for (listener, acceptor) in acceptors {
        net::spawn(accept(local.clone(), listener, acceptor, peers.clone()));
    }
    let mut drain_until = None;
    loop {
        let message = match drain_until {
            None => inbox.next().await,
            Some(end) => match drained(&local, &mut inbox, end).await {
                Some(message) => message,
                None => break,
            },
        };
        match message {
            Message::Adopt(snapshot, waiting) => {
                local.adopt(snapshot);
                for adopted in waiting {
                    // Control may have stopped waiting.
                    let _ = adopted.send(());
                }
            }
            Message::Listen(id, socket) => match Acceptor::new(socket) {
                Ok(acceptor) => {
                    net::spawn(accept(local.clone(), id, acceptor, peers.clone()));
                }
                Err(error) => tracing::error!(%error, "cannot listen on one more socket"),
            },
            Message::Serve(listener, fd, peer) => match Socket::new(fd) {
                Ok(socket) => proxy::spawn(socket, peer, listener, &local),
                Err(error) => {
                    local.counters.open.leave();
                    warn_of_accept(&local, &error);
                }
            },
            Message::Unlisten(id, done) => {
                local.alarms.cut_tagged(&[acceptor_tag(id)]);
                let _ = done.send(());
            }
            Message::CloseIdle(listeners) => {
                let tags: Vec<_> = listeners.into_iter().map(proxy::idle_tag).collect();
                local.alarms.cut_tagged(&tags);
            }
            Message::Cut(targets) => {
                let tags: Vec<_> = targets.into_iter().map(proxy::tag).collect();
                local.alarms.cut_tagged(&tags);
            }
            Message::Report(reply) => {
                let _ = reply.send(Report { open_connections: local.connections() });
            }
            Message::Drain(Draining { limit, grace }) => {
                local.counters.open.close();
                local.alarms.drain(grace);
                local.alarms.cut_where(is_acceptor);
                drain_until = Some(Instant::now() + limit);
            }
            Message::Stop => break,
        }
    }
    local.pools.clear();
    local.lines.clear();
    local.alarms.cut();
    net::sleep(CUT_GRACE).await;
    local.pens.close();
}

/// Waits until all connections have ended or `end` has come; a message interrupts it.
async fn drained(local: &Local, inbox: &mut OpenInbox, end: Instant) -> Option<Message> {
    loop {
        // Before the first look, too: acceptors that are to end take what waits for them first.
        net::sleep(DRAIN_CHECK).await;
        if let Some(message) = inbox.try_next() {
            return Some(message);
        }
        if local.connections() == 0 || Instant::now() >= end {
            return None;
        }
    }
}

/// Closes what has been idle for too long and gives memory back, for as long as the worker lives.
async fn sweep(local: Rc<Local>, beat: Arc<Counter>) {
    loop {
        net::sleep(SWEEP).await;
        beat.add(1);
        local.pools.sweep(local.alarms.now());
        local.lines.sweep(local.alarms.now());
        local.trim();
        local.show_stock();
        net::limits::give_memory_back();
    }
}

/// In the tags of acceptors only, see [`proxy::idle_tag`] for the others.
const ACCEPTOR: u64 = 1 << 63;

/// What the wait of a listener's acceptors is tagged with.
fn acceptor_tag(listener: ListenerId) -> Tag {
    Tag(ACCEPTOR | u64::from(listener.slot) << 32 | u64::from(listener.generation))
}

fn is_acceptor(tag: Tag) -> bool {
    tag.0 & ACCEPTOR != 0
}

/// Takes the connections of one listening socket until the worker drains. What waits in the
/// socket's queue at that moment is still served.
async fn accept(local: Rc<Local>, listener: ListenerId, acceptor: Acceptor, peers: Rc<Peers>) {
    let take = |fd, peer| {
        local.counters.connections.add(1);
        if let Some(other) = peers.place() {
            other.send(Message::Serve(listener, fd, peer));
            return Ok(());
        }
        let socket = Socket::new(fd).inspect_err(|_| local.counters.open.leave())?;
        proxy::spawn(socket, peer, listener, &local);
        Ok(())
    };
    let alarm = local.alarms.alarm();
    alarm.tag(acceptor_tag(listener));
    loop {
        let ready = alarm.idle(Duration::MAX, acceptor.ready()).await;
        let accepted = acceptor.accept(take);
        match (ready, accepted) {
            (None, _) => return,
            (Some(Ok(())), Ok(())) => {}
            (Some(Err(error)), _) | (_, Err(error)) => {
                warn_of_accept(&local, &error);
                net::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Says on the log that connections cannot be taken: at most every ten seconds.
fn warn_of_accept(local: &Local, error: &io::Error) {
    local.counters.accept_errors.add(1);
    if local.may_warn_of_accept() {
        let cure = match error.raw_os_error() {
            Some(libc::EMFILE) => "raise the limit of open files (LimitNOFILE=)",
            Some(libc::ENFILE) => "raise sysctl fs.file-max",
            _ => "see the error",
        };
        tracing::warn!(%error, cure, "cannot accept connections; trying again");
    }
}
