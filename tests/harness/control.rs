//! A client of the control API on its Unix socket, and fast targets that die like processes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::SockRef;

use super::{DEADLINE, Refusing};

/// Speaks to the control API, one connection per request.
#[derive(Debug, Clone)]
pub struct Control(PathBuf);

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Body; null if there is none.
    pub body: Value,
}

impl Control {
    /// The API at this socket.
    pub fn at(path: &Path) -> Self {
        Self(path.into())
    }

    /// Asks once. `None`: no whole answer came.
    pub fn try_ask(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        let mut stream = UnixStream::connect(&self.0).ok()?;
        stream.set_read_timeout(Some(DEADLINE * 2)).expect("timeout");
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).ok()?;
        let end = memchr::memmem::find(&response, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&response[..end]).to_lowercase();
        let status = head.get(9..12)?.parse().ok()?;
        let body = &response[end + 4..];
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.is_some_and(|length| length.parse() != Ok(body.len())) {
            return None;
        }
        Some(Answer { status, body: serde_json::from_slice(body).unwrap_or_default() })
    }

    /// Asks until the process has an answer: one that hands over says 503 or closes the door.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.try_ask(method, path, body) {
                Some(answer) if answer.status != 503 => return answer,
                other => {
                    assert!(Instant::now() < until, "{method} {path}: {other:?}");
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }

    /// Asks for something that has to be done.
    pub fn done(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.ask(method, path, body);
        assert!((200..300).contains(&answer.status), "{method} {path} {body:?}: {answer:?}");
        answer.body
    }

    /// The status.
    pub fn status(&self) -> Value {
        self.done("GET", "/v1/status", None)
    }

    /// Process id of the one that answers.
    pub fn pid(&self) -> u32 {
        self.status()["pid"].as_u64().expect("pid") as u32
    }

    /// Registers a target.
    pub fn register(&self, group: &str, target: SocketAddr) {
        let body = serde_json::json!({ "targets": [{ "address": target.to_string() }] });
        self.done("POST", &format!("/v1/target-groups/{group}/targets"), Some(&body));
    }

    /// Deregisters a target; with `wait`, returns whether it had nothing in flight at the end.
    pub fn deregister(&self, group: &str, target: SocketAddr, wait: Option<&str>) -> Value {
        let body = serde_json::json!({ "targets": [target.to_string()], "wait": wait });
        let path = format!("/v1/target-groups/{group}/targets");
        self.done("DELETE", &path, Some(&body))["drained"].take()
    }

    /// State of each target of a group.
    pub fn targets(&self, group: &str) -> HashMap<SocketAddr, String> {
        let answer = self.done("GET", &format!("/v1/target-groups/{group}/targets"), None);
        let targets = answer["targets"].as_array().expect("targets").iter();
        let text = |target: &Value, key: &str| target[key].as_str().unwrap_or_default().to_owned();
        let read =
            |target| (text(target, "address").parse().expect("address"), text(target, "state"));
        targets.map(read).collect()
    }

    /// Waits until a target has this state.
    pub fn wait_state(&self, group: &str, target: SocketAddr, state: &str) {
        let until = Instant::now() + DEADLINE;
        while self.targets(group).get(&target).is_none_or(|now| now != state) {
            assert!(Instant::now() < until, "{target} is not {state}: {:?}", self.targets(group));
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A keep-alive server that answers requests without a body, a thread per connection, until it
/// is killed.
pub struct FastTarget {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Served>,
    /// Keeps the port from others when it has been killed.
    place: Refusing,
}

/// What the threads of a target share.
struct Served {
    body: String,
    delay: Duration,
    dead: AtomicBool,
    requests: AtomicU64,
    /// When the last response began.
    last: Mutex<Option<Instant>>,
    open: Mutex<Vec<TcpStream>>,
}

impl FastTarget {
    /// Starts one that says `body`.
    pub fn start(body: &str) -> Self {
        Self::slow(body, Duration::ZERO)
    }

    /// Starts one that thinks for `delay` first.
    pub fn slow(body: &str, delay: Duration) -> Self {
        let place = Refusing::start();
        let address = place.address();
        let listener = TcpListener::bind(address).expect("our own port");
        SockRef::from(&listener).listen(4096).expect("backlog");
        let state = Arc::new(Served {
            body: body.into(),
            delay,
            dead: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            last: Mutex::default(),
            open: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                if let Ok(copy) = stream.try_clone() {
                    shared.open.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
                }
                if shared.dead.load(Relaxed) {
                    return shared.reset();
                }
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, state, place }
    }

    /// Ends it as SIGKILL would with requests unread: every connection is reset.
    pub fn kill(&self) {
        self.state.dead.store(true, Relaxed);
        // Wakes the accept, so that the port refuses.
        drop(TcpStream::connect(self.address));
        self.state.reset();
    }

    /// Number of requests that it answered.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Relaxed)
    }

    /// When its last response began.
    pub fn last_response(&self) -> Option<Instant> {
        *self.state.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FastTarget {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Served {
    fn reset(&self) {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        for stream in open {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            // Ends the read of its own thread, whose close is then a reset.
            let _ = stream.shutdown(std::net::Shutdown::Read);
        }
    }

    fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let response =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", self.body.len(), self.body);
        let mut buffer = [0; 4096];
        let mut len = 0;
        while let Ok(count @ 1..) = stream.read(&mut buffer[len..]) {
            len += count;
            if !buffer[..len].ends_with(b"\r\n\r\n") {
                continue;
            }
            let is_probe = buffer.starts_with(b"GET /health");
            len = 0;
            if !is_probe {
                thread::sleep(self.delay);
                self.requests.fetch_add(1, Relaxed);
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            }
            if self.dead.load(Relaxed) || stream.write_all(response.as_bytes()).is_err() {
                break;
            }
        }
        if self.dead.load(Relaxed) {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// How long a process that has handed over keeps an unused connection (2 s), less what there may be
/// between a look at the clock and the request at its socket.
pub const HANDED_OVER_GRACE: Duration = Duration::from_millis(1500);

/// What a strict client saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Responses with status 200.
    pub good: u64,
    /// Connections made.
    pub connections: u64,
    /// Everything else, by cause, with when it happened.
    pub failures: Vec<(Instant, String)>,
}

/// Sends GET requests one after the other on a keep-alive connection, with `pause` in between,
/// until told to stop; makes a new connection only where the last response said so, or where the
/// machine was so busy that the connection was unused for [`HANDED_OVER_GRACE`].
pub fn strict_client(
    address: SocketAddr,
    pause: Duration,
    stop: &AtomicBool,
    mut check: impl FnMut(&[u8]),
) -> Seen {
    let mut seen = Seen::default();
    let mut connection: Option<TcpStream> = None;
    let mut served = 0;
    let mut answered = Instant::now();
    while !stop.load(Relaxed) {
        let kept = connection.take().filter(|_| answered.elapsed() < HANDED_OVER_GRACE);
        let mut stream = match kept {
            Some(stream) => stream,
            None => match TcpStream::connect(address) {
                Ok(stream) => {
                    (seen.connections, served) = (seen.connections + 1, 0);
                    stream.set_nodelay(true).expect("nodelay");
                    stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
                    stream
                }
                Err(error) => {
                    seen.failures.push((Instant::now(), format!("connect: {error}")));
                    continue;
                }
            },
        };
        match exchange(&mut stream) {
            Ok(response) => {
                (served, answered) = (served + 1, Instant::now());
                let head = String::from_utf8_lossy(&response).to_lowercase();
                match head.starts_with("http/1.1 200") {
                    true => seen.good += 1,
                    false => seen.failures.push((Instant::now(), head[..12].to_owned())),
                }
                check(&response);
                if !head.contains("\r\nconnection: close") {
                    connection = Some(stream);
                }
            }
            Err(cause) => {
                let text = format!("{cause} after {served} responses on the connection");
                seen.failures.push((Instant::now(), text));
            }
        }
        thread::sleep(pause);
    }
    seen
}

/// One request, and the whole response to it.
fn exchange(stream: &mut TcpStream) -> Result<Vec<u8>, String> {
    let request = b"GET / HTTP/1.1\r\nHost: soak.test\r\n\r\n";
    stream.write_all(request).map_err(|error| format!("write: {error}"))?;
    let mut response = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).map_err(|error| format!("read: {error}"))?;
        if count == 0 {
            return Err(format!("closed after {} bytes", response.len()));
        }
        response.extend_from_slice(&buffer[..count]);
        let Some(end) = memchr::memmem::find(&response, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&response[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|text| text.parse().ok()).ok_or("no length")?;
        if response.len() >= end + 4 + length {
            return Ok(response);
        }
    }
}
