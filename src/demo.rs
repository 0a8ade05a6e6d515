//! What `ringway demo` balances: targets to answer, a configuration, and commands to try.
//!
//! [`Targets`] are real HTTP servers on ports of 127.0.0.1, on a thread of their own; to the
//! balancer they are targets like any others. [`configuration`] is what a file of the
//! tutorial would say about them. Running the balancer itself, and stopping at Ctrl-C, is up to
//! the caller. Start with [`Targets::start`]; what a target answers is in `demo/target.rs`.

mod certificate;
mod page;
mod target;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use socket2::SockRef;
use tokio::sync::oneshot;

pub use certificate::Certificate;
pub(crate) use page::escape;
use target::{DemoTarget, Site};

/// Where the demo's L7 listener is, if that port is free.
pub const L7_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Where the demo's L4 listener is, if that port is free.
pub const L4_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// Where the demo's HTTPS listener is, if it has one and that port is free.
pub const TLS_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);

/// Most connections that wait to be accepted by one target (the kernel may allow fewer).
const BACKLOG: i32 = 4096;

/// Two `home` and two `blog` targets that are running. They stop, and their connections close,
/// when this is dropped.
#[derive(Debug)]
pub struct Targets {
    home: [SocketAddr; 2],
    blog: [SocketAddr; 2],
    /// Dropped to stop the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Targets {
    /// Starts them on ports of 127.0.0.1 that the kernel chooses. They accept connections as soon
    /// as this returns. Waits for their thread to begin, so not for use on a worker.
    ///
    /// # Errors
    /// If a port, the thread or its runtime cannot be had.
    pub fn start() -> io::Result<Self> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listeners = [bind()?, bind()?, bind()?, bind()?];
        let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); 4];
        for (address, listener) in addresses.iter_mut().zip(&listeners) {
            // std asks for a backlog of 128: the connections of a load test come all at once, and
            // those dropped would wait a second. Listening again only changes the length.
            SockRef::from(listener).listen(BACKLOG)?;
            listener.set_nonblocking(true)?;
            *address = listener.local_addr()?;
        }
        let (stop, stopped) = oneshot::channel();
        let (begun, begin) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("demo-targets".into())
            .spawn(move || run(listeners, stopped, &begun))?;
        let [home_1, home_2, blog_1, blog_2] = addresses;
        let targets = Self {
            home: [home_1, home_2],
            blog: [blog_1, blog_2],
            stop: Some(stop),
            thread: Some(thread),
        };
        begin.recv().unwrap_or_else(|_| Err(io::Error::other("the demo's targets ended early")))?;
        Ok(targets)
    }

    /// Addresses of the `home` targets.
    #[must_use]
    pub fn home(&self) -> &[SocketAddr] {
        &self.home
    }

    /// Addresses of the `blog` targets.
    #[must_use]
    pub fn blog(&self) -> &[SocketAddr] {
        &self.blog
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

/// Serves on `listeners` until `stopped`. Says on `begun` whether it could start. Whatever is
/// open at the end is closed with the runtime.
fn run(
    listeners: [TcpListener; 4],
    stopped: oneshot::Receiver<()>,
    begun: &mpsc::SyncSender<io::Result<()>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(begun.send(Err(error))),
    };
    runtime.block_on(async move {
        let sites = [(Site::Home, 1), (Site::Home, 2), (Site::Blog, 1), (Site::Blog, 2)];
        let started =
            sites.into_iter().zip(listeners).try_for_each(|((site, number), listener)| {
                let demo_target = DemoTarget::new(site, number, listener.local_addr()?);
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::spawn(target::serve(listener, Arc::new(demo_target)));
                Ok(())
            });
        if begun.send(started).is_ok() {
            // An error means that the sender was dropped, which is how `Targets` stops.
            let _ = stopped.await;
        }
    });
}

/// `preferred` if it can be listened on at the moment, else port 0 of the same IP address: the
/// kernel then chooses one that is free. Another process may still be faster than the caller.
#[must_use]
pub fn free_address(preferred: SocketAddr) -> SocketAddr {
    // A plain bind, for with SO_REUSEPORT a port that another ringway uses would seem free.
    match TcpListener::bind(preferred) {
        Ok(_) => preferred,
        Err(_) => SocketAddr::new(preferred.ip(), 0),
    }
}

/// The configuration of the demo: listener `web` (L7 on `l7`) sends `/blog` and `/blog/*` to
/// group `blog` and all else to group `home`; listener `home-tcp` (L4 on `l4`) passes connections
/// to group `home`. Targets are probed often enough for a newcomer to see the effect of a change.
#[must_use]
pub fn configuration(
    home: &[SocketAddr],
    blog: &[SocketAddr],
    l7: SocketAddr,
    l4: SocketAddr,
) -> String {
    let list = |targets: &[SocketAddr]| {
        let quoted = targets.iter().map(|target| format!("\"{target}\""));
        quoted.collect::<Vec<_>>().join(", ")
    };
    let (home, blog) = (list(home), list(blog));
    format!(
        "\
[[target_groups]]
name = \"home\"
targets = [{home}]
health_check = {{ interval = \"2s\", timeout = \"1s\", healthy_threshold = 2 }}

[[target_groups]]
name = \"blog\"
targets = [{blog}]
health_check = {{ path = \"/blog\", interval = \"2s\", timeout = \"1s\", healthy_threshold = 2 }}

[[listeners]]
name = \"web\"
address = \"{l7}\"
default = {{ forward = \"home\" }}

[[listeners.rules]]
priority = 10
path_pattern = [\"/blog\", \"/blog/*\"]
forward = \"blog\"

[[listeners]]
name = \"home-tcp\"
address = \"{l4}\"
mode = \"l4\"
default = {{ forward = \"home\" }}
"
    )
}

/// What the demo prints once it runs: commands to try, and the same as a configuration file. The
/// addresses are those that the listeners have, never with port 0.
#[must_use]
pub fn instructions(l7: SocketAddr, l4: SocketAddr, configuration: &str) -> String {
    format!(
        "\
ringway demo: two home targets and two blog targets run in this process, behind

  http://{l7}/   L7: /blog and /blog/* go to the blog targets, all else to home
  http://{l4}/   L4: every connection goes to a home target, unread

Open http://{l7}/ in a browser and reload it, or try in another terminal:

  curl http://{l7}/            # home-1 or home-2
  curl http://{l7}/blog        # blog-1 or blog-2
  curl http://{l4}/            # home again, through the L4 listener

The targets of a group take turns:

  for i in 1 2 3 4; do curl -s http://{l7}/; done
  for i in 1 2 3 4; do curl -s http://{l7}/blog; done
  for i in 1 2 3 4; do curl -s http://{l7}/blog/slow & done; wait  # 1 s in all

How fast is it here? (wrk or oha; the targets share this machine's cores)

  wrk -t2 -c256 -d10s http://{l7}/
  oha -c 256 -z 10s http://{l7}/

It runs this configuration; the same with targets of your own, as a file:

{toml}
  ringway check --config ringway.toml     # every mistake at once
  ringway run --config ringway.toml

Ctrl-C ends the demo.
",
        toml = configuration
            .lines()
            .map(|line| format!("  {line}").trim_end().to_owned() + "\n")
            .collect::<String>(),
    )
}
