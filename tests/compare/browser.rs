//! A browser without a window, spoken to by its DevTools protocol: what a page loads, says on its
//! console, and looks like.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket, client};

/// Longest wait for anything of the browser's: its first start is slow on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser; killed when dropped.
pub(crate) struct Browser {
    child: Child,
    profile: TempDir,
}

/// A page, and all that was said about it.
pub(crate) struct Page {
    socket: WebSocket<TcpStream>,
    next_id: u64,
    /// Messages that nobody waited for.
    pub(crate) events: Vec<Value>,
}

impl Browser {
    /// Starts one, if the machine has it.
    pub(crate) fn start() -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let path = std::env::var_os("PATH")?;
        let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let program = names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
        let program = program.into_iter().find(|path| path.is_file())?;
        let profile = TempDir::new().expect("a directory");
        let child = Command::new(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--remote-debugging-port=0", "--remote-allow-origins=*"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the browser");
        Some(Self { child, profile })
    }

    /// Opens an empty page.
    pub(crate) fn page(&self) -> Page {
        let file = self.profile.path().join("DevToolsActivePort");
        let until = Instant::now() + PATIENCE;
        let port: u16 = loop {
            let text = fs::read_to_string(&file).unwrap_or_default();
            // The port is in the first of two lines.
            match text.lines().next().filter(|_| text.contains('\n')) {
                Some(port) => break port.parse().expect("a port"),
                None => assert!(Instant::now() < until, "the browser does not come up"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        let connect = || {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("the browser listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
            stream
        };
        let mut stream = connect();
        let head = "PUT /json/new?about:blank HTTP/1.1\r\nHost: 127.0.0.1\r\n\
                    Connection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("ask for a page");
        // It keeps the connection, so the body's end is found by its braces.
        let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
        let page: Value = loop {
            let count = stream.read(&mut piece).expect("an answer");
            answer.extend_from_slice(&piece[..count]);
            let text = String::from_utf8_lossy(&answer);
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            match serde_json::from_str(body) {
                Ok(value) => break value,
                Err(_) => assert!(count > 0, "no page: {text}"),
            }
        };
        let url = page["webSocketDebuggerUrl"].as_str().expect("an address");
        let (socket, _) = client(url, connect()).expect("a WebSocket");
        Page { socket, next_id: 0, events: Vec::new() }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Page {
    /// Calls a method and returns its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let call = json!({ "id": id, "method": method, "params": params }).to_string();
        self.socket.send(Message::text(call)).expect("send");
        loop {
            let message = self.read();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// Waits for an event.
    pub(crate) fn wait_for(&mut self, event: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.events.iter().any(|message| message["method"] == event) {
            assert!(Instant::now() < until, "no {event}");
            let message = self.read();
            self.events.push(message);
        }
    }

    /// The value of an expression.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        self.call("Runtime.evaluate", params)["result"]["value"].clone()
    }

    /// Writes what the whole page looks like.
    pub(crate) fn shoot(&mut self, path: &Path) {
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let result = self.call("Page.captureScreenshot", params);
        let text = result["data"].as_str().expect("a picture");
        let mut picture = vec![0; text.len()];
        let length = STANDARD.decode_slice(text, &mut picture).expect("base64");
        fs::write(path, &picture[..length]).expect("write");
    }

    fn read(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.socket.read().expect("a message") {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }
}
