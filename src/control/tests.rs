//! The actor with a worker, a target and a state directory, on a disk that hangs.

use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::sync::{broadcast, oneshot};

use super::handle::ChangeError;
use super::*;
use crate::overlay::Change;

/// Far above what a busy machine needs.
const DEADLINE: Duration = Duration::from_secs(45);

/// Keeps the only thread that waits for the disk until it is dropped; the receiver hears when it
/// has it.
fn hang() -> (mpsc::Sender<()>, oneshot::Receiver<()>) {
    let (go_on, wait) = mpsc::channel();
    let (begin, began) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _ = begin.send(());
        let _ = wait.recv();
    });
    (go_on, began)
}

/// Runs `scenario` beside an actor, whose configuration probes `target` twice a second: a busy
/// machine is in time for that.
fn beside_an_actor<F: Future<Output = ()>>(
    target: SocketAddr,
    scenario: impl FnOnce(Handle, std::path::PathBuf) -> F,
) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(1).build().unwrap().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().display();
        let text = format!(
            "[server]\nworkers = 1\nstate_dir = \"{state}\"\n\
             control = {{ socket = \"{state}/control.sock\" }}\n\
             [[target_groups]]\nname = \"home\"\ntargets = [\"{target}\"]\n\
             health_check = {{ protocol = \"tcp\", interval = \"500ms\", timeout = \"450ms\", \
             healthy_threshold = 2, unhealthy_threshold = 2 }}\n\
             [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             default = {{ forward = \"home\" }}\n"
        );
        let loaded = crate::config::parse(&text, "test").unwrap();
        let source = Source { path: None, text, program: "ringway".into() };
        let signals = Signals::new().unwrap();
        let (actor, mut inputs) = start_actor(source, loaded, signals).await.unwrap();
        let handle = actor.news.handle().clone();
        let actor = RefCell::new(actor);
        let scenario = scenario(handle, dir.path().join("changes.json"));
        tokio::select! {
            _ = actor::run(&actor, &mut inputs) => panic!("the actor has ended"),
            result = tokio::time::timeout(DEADLINE, scenario) => result.expect("in time"),
        }
    });
}

/// Waits until the target has this state by its flip number `count`, and every worker knows.
async fn wait_flip(
    handle: &Handle,
    events: &mut broadcast::Receiver<Event>,
    (count, state): (u64, &str),
) {
    while !matches!(events.recv().await, Ok(Event::Health { to, .. }) if to == state) {}
    while handle.status().await.unwrap().health_flips.count < count {
        tokio::task::yield_now().await;
    }
}

#[test]
fn health_flips_while_a_change_is_saved_and_further_changes_wait_in_order() {
    // Bound and not listening: keeps the port from others while the target is gone.
    let place = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    place.set_reuse_address(true).unwrap();
    place.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let target = place.local_addr().unwrap().as_socket().unwrap();
    let listener = TcpListener::bind(target).unwrap();
    beside_an_actor(target, async move |handle, file| {
        let mut events = handle.events();
        wait_flip(&handle, &mut events, (1, "healthy")).await;
        let patch = move |weight: u16| {
            let targets = json!({ target.to_string(): { "weight": weight } });
            Change::merge(json!({ "target_groups": { "home": { "targets": targets } } })).unwrap()
        };
        // The first holds up the check of the change, the second what comes after it: the save.
        let (check, _) = hang();
        let mut first = std::pin::pin!(handle.change_at(1, patch(5)));
        let early = tokio::time::timeout(Duration::from_millis(50), first.as_mut()).await;
        assert!(early.is_err(), "{early:?}");
        let (save, saving) = hang();
        drop(check);
        saving.await.unwrap();
        let second = tokio::spawn({
            let handle = handle.clone();
            async move { handle.change_at(1, patch(6)).await }
        });

        drop(listener);
        wait_flip(&handle, &mut events, (2, "unhealthy")).await;
        let _listener = TcpListener::bind(target).unwrap();
        wait_flip(&handle, &mut events, (3, "healthy")).await;
        let status = handle.status().await.unwrap();
        assert_eq!((status.generation, status.target_groups[0].targets[0].weight), (1, 1));
        assert!(!file.exists() && !second.is_finished());

        drop(save);
        assert_eq!(first.await.unwrap().unwrap().generation, 2);
        let second = second.await.unwrap().unwrap();
        assert!(matches!(second, Err(ChangeError::Stale(2))), "{second:?}");
        assert!(std::fs::read_to_string(&file).unwrap().contains("\"weight\": 5"));
    });
}
