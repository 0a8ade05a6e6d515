//! The service manager, as control speaks to it: what systemd's sd_notify(3) defines.
//!
//! [`Service`] says what the process is about: that it is ready, reloads, hands over, stops, and
//! in one line what it serves. `watchdog` says that it lives. Where no service manager listens,
//! nothing is said and all else is the same.
//!
//! By hand and not by a crate: a message is one datagram of a few lines, and what the crates have
//! waits for room in the service manager's queue. One that hangs would hang control with it.

mod watchdog;

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::Counter;
use crate::net;

use watchdog::Watchdog;

/// The environment variable that names the service manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How often the line that says what is served is brought up to date.
const STATUS_PERIOD: Duration = Duration::from_secs(1);
/// What a stop may take beyond the time that its connections have.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// The way to the service manager; cheap to clone.
#[derive(Debug, Clone, Default)]
struct Notifier(Option<Arc<UnixDatagram>>);

impl Notifier {
    /// The one that the environment names, if it can be reached.
    fn from_environment() -> Self {
        let Some(name) = std::env::var_os(SOCKET).filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        match connect(&name) {
            Ok(socket) => Self(Some(Arc::new(socket))),
            Err(error) => {
                tracing::warn!(socket = ?name, %error, "the service manager cannot be told");
                Self(None)
            }
        }
    }

    /// Sends one message. A service manager that takes no more is left alone.
    fn tell(&self, message: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::debug!(%error, message, "the service manager was not told");
        }
    }
}

/// A name that begins with `@` is not a path but in the abstract namespace.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// What the service manager has been told so far.
#[derive(Debug)]
pub(super) struct Service {
    notifier: Notifier,
    phase: Phase,
    /// What the last reload or upgrade came to, as an addition to the status.
    note: &'static str,
    status: String,
    status_due: Instant,
    /// What the watchdog is to look at: the beats of the workers in order, and that of control.
    beats: (Vec<Arc<Counter>>, Arc<Counter>),
    watchdog: Option<Watchdog>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for the health of the targets, but not beyond this.
    Starting(Instant),
    /// It serves.
    Ready,
    /// Another process speaks for the service: the one before, or the one after.
    Silent,
}

impl Service {
    /// The service that the environment speaks of. It counts as ready once the first health of
    /// every target is known, or at `ready_by`; a process that takes over (`None`) when it does.
    pub(super) fn from_environment(ready_by: Option<Instant>) -> Self {
        Self::new(Notifier::from_environment(), ready_by)
    }

    fn new(notifier: Notifier, ready_by: Option<Instant>) -> Self {
        Self {
            notifier,
            phase: ready_by.map_or(Phase::Silent, Phase::Starting),
            note: "",
            status: String::new(),
            status_due: Instant::now(),
            beats: (Vec::new(), Arc::default()),
            watchdog: None,
        }
    }

    /// Has the watchdog, if there is one, pinged for as long as all these count on, once the
    /// service is ready: the beats of the workers in order, and that of control.
    pub(super) fn watch(&mut self, workers: Vec<Arc<Counter>>, control: Arc<Counter>) {
        self.beats = (workers, control);
    }

    /// Whether there is something to say: then [`Service::tick`] is worth its arguments.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Starting(_) => true,
            Phase::Ready => self.notifier.0.is_some() && now >= self.status_due,
            Phase::Silent => false,
        }
    }

    /// Says what has changed, at most once in a while. `health_is_known`: of every target;
    /// `serves`: what is served, in one line.
    pub(super) fn tick(&mut self, now: Instant, health_is_known: bool, serves: String) {
        if !self.is_due(now) {
            return;
        }
        match self.phase {
            Phase::Starting(by) if now >= by || health_is_known => {
                self.begin(&serves);
                self.say("READY=1\n", serves);
            }
            Phase::Ready => {
                self.status_due = now + STATUS_PERIOD;
                let status = serves + self.note;
                if status != self.status {
                    self.say("", status);
                }
            }
            Phase::Starting(_) | Phase::Silent => {}
        }
    }

    /// This process is the service from now on, says the one before, which tells so itself: what
    /// came from here too early would be taken for a stranger's.
    pub(super) fn took_over(&mut self, now: Instant, serves: &str) {
        self.begin(serves);
        self.status_due = now + STATUS_PERIOD;
    }

    fn begin(&mut self, serves: &str) {
        tracing::info!("ready: {serves}");
        self.phase = Phase::Ready;
        if let Some(period) = watchdog::period() {
            let (workers, control) = self.beats.clone();
            self.watchdog = Some(Watchdog::start(self.notifier.clone(), period, workers, control));
        }
    }

    /// The configuration is being read again, or a new process begins to take over.
    pub(super) fn reloading(&self) {
        let now = net::monotonic_micros();
        self.tell_if_ready(&format!("RELOADING=1\nMONOTONIC_USEC={now}\n"));
    }

    /// The end of that.
    pub(super) fn reloaded(&mut self, accepted: bool) {
        self.note = match accepted {
            true => "",
            false => "; the last reload or upgrade failed, see the log",
        };
        self.status_due = Instant::now();
        self.tell_if_ready("READY=1\n");
    }

    /// The process `pid` is the service from now on; this one says no more.
    pub(super) fn handed_over(&mut self, pid: u32) {
        self.watchdog = None;
        self.tell_if_ready(&format!("MAINPID={pid}\nREADY=1\n"));
        self.phase = Phase::Silent;
    }

    /// The process ends, within `limit` and a little more.
    pub(super) fn stopping(&mut self, limit: Duration) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.expect_ends();
        }
        if self.phase != Phase::Silent {
            let more = (limit + STOP_GRACE).as_micros();
            let status = format!("draining, for {limit:?} at most");
            self.say(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={more}\n"), status);
            self.phase = Phase::Silent;
        }
    }

    /// A process that is not yet ready has nothing to take back.
    fn tell_if_ready(&self, message: &str) {
        if self.phase == Phase::Ready {
            self.notifier.tell(message);
        }
    }

    fn say(&mut self, message: &str, status: String) {
        let mut message = message.to_owned();
        // Writing to a string does not fail.
        let _ = writeln!(message, "STATUS={status}");
        self.notifier.tell(&message);
        self.status = status;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service and the service manager's end.
    fn service(now: Instant) -> (Service, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        ours.set_nonblocking(true).expect("non-blocking");
        theirs.set_nonblocking(true).expect("non-blocking");
        let ready_by = Some(now + Duration::from_secs(5));
        (Service::new(Notifier(Some(Arc::new(ours))), ready_by), theirs)
    }

    fn heard(manager: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 1024];
        let mut messages = Vec::new();
        while let Ok(len) = manager.recv(&mut buffer) {
            let text = std::str::from_utf8(&buffer[..len]).expect("UTF-8");
            messages.push(text.trim_end().replace('\n', " "));
        }
        messages
    }

    #[test]
    fn it_is_ready_once_health_is_known_and_says_what_has_changed_since() {
        let now = Instant::now();
        let (mut service, manager) = service(now);
        service.tick(now, false, "a".into());
        service.reloading();
        assert_eq!(heard(&manager), Vec::<String>::new(), "not before it is ready");
        service.tick(now, true, "a".into());
        assert_eq!(heard(&manager), ["READY=1 STATUS=a"]);
        let second = |count| now + Duration::from_secs(count);
        service.tick(second(1), true, "a".into());
        assert_eq!(heard(&manager), Vec::<String>::new(), "nothing has changed");
        service.tick(second(2), true, "b".into());
        service.tick(second(2), true, "c".into());
        assert_eq!(heard(&manager), ["STATUS=b"], "once a second is enough");
    }

    #[test]
    fn it_is_ready_when_the_wait_for_health_is_over() {
        let now = Instant::now();
        let (mut service, manager) = service(now);
        service.tick(now + Duration::from_secs(5), false, "a".into());
        assert_eq!(heard(&manager), ["READY=1 STATUS=a"]);
    }

    #[test]
    fn a_reload_is_told_and_so_is_its_refusal() {
        let now = Instant::now();
        let (mut service, manager) = service(now);
        service.tick(now, true, "a".into());
        heard(&manager);
        service.reloading();
        service.reloaded(false);
        let [reloading, ready] = heard(&manager).try_into().expect("two messages");
        let micros = reloading.strip_prefix("RELOADING=1 MONOTONIC_USEC=").expect("with a time");
        assert!(micros.parse::<u64>().expect("a number") > 0);
        assert_eq!(ready, "READY=1");
        let later = Instant::now() + Duration::from_secs(1);
        service.tick(later, true, "a".into());
        assert_eq!(heard(&manager), ["STATUS=a; the last reload or upgrade failed, see the log"]);
        service.reloaded(true);
        service.tick(later, true, "a".into());
        assert_eq!(heard(&manager), ["READY=1", "STATUS=a"]);
    }

    #[test]
    fn a_process_that_has_handed_over_names_its_successor_and_says_no_more() {
        let now = Instant::now();
        let (mut service, manager) = service(now);
        service.tick(now, true, "a".into());
        heard(&manager);
        service.handed_over(42);
        service.stopping(Duration::from_secs(1));
        service.tick(now + Duration::from_secs(9), true, "b".into());
        assert_eq!(heard(&manager), ["MAINPID=42 READY=1"]);
    }

    #[test]
    fn a_process_that_takes_over_speaks_a_while_after_the_one_before() {
        let now = Instant::now();
        let (mut service, manager) = service(now);
        service.phase = Phase::Silent;
        service.tick(now, true, "a".into());
        service.took_over(now, "a");
        service.tick(now, true, "a".into());
        assert_eq!(heard(&manager), Vec::<String>::new());
        service.tick(now + STATUS_PERIOD, true, "a".into());
        assert_eq!(heard(&manager), ["STATUS=a"]);
    }

    #[test]
    fn a_stop_asks_for_the_time_that_it_needs() {
        let now = Instant::now();
        let (mut service, manager) = service(now);
        service.tick(now, true, "a".into());
        heard(&manager);
        service.stopping(Duration::from_secs(30));
        let all = "STOPPING=1 EXTEND_TIMEOUT_USEC=45000000 STATUS=draining, for 30s at most";
        assert_eq!(heard(&manager), [all]);
    }

    #[test]
    fn a_service_manager_that_takes_no_more_is_not_waited_for() {
        let now = Instant::now();
        let (mut service, manager) = service(now);
        service.tick(now, true, "a".into());
        for _ in 0..10_000 {
            service.reloading();
        }
        assert!(heard(&manager).len() < 10_000, "the queue has an end");
    }

    #[test]
    fn both_kinds_of_socket_names_are_understood() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a path");
        connect(path.as_os_str()).expect("connect").send(b"path").expect("send");
        let name = format!("@ringway-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).expect("a name");
        let other = UnixDatagram::bind_addr(&address).expect("an abstract name");
        connect(OsStr::new(&name)).expect("connect").send(b"name").expect("send");
        let mut buffer = [0; 8];
        assert_eq!(manager.recv(&mut buffer).expect("a message"), 4);
        assert_eq!(other.recv(&mut buffer).expect("a message"), 4);
    }
}
