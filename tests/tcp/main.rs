//! TCP listeners, end to end (spec 5.2, 5.3): bytes unread, both ends carried through.

#[path = "../harness/mod.rs"]
mod harness;
mod proxy_protocol;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use harness::*;

const LOCALHOST: [u8; 4] = [127, 0, 0, 1];

#[test]
fn bytes_pass_unread_in_both_directions() {
    let target = Target::echo_bytes();
    let balancer = tcp(&[&target]).start();
    let mut client = balancer.client();
    for length in [1, 100, 70_000, 5_000_000] {
        let bytes: Vec<u8> = (0..length).map(|n: usize| ((n * 7) ^ (n >> 8)) as u8).collect();
        let mut writer = client.stream().try_clone().expect("clone");
        let sent = bytes.clone();
        let writing = std::thread::spawn(move || writer.write_all(&sent));
        assert!(client.take(length) == bytes, "{length} bytes came back changed");
        writing.join().expect("thread").expect("written");
    }
    assert_eq!(target.connection_count(), 1);
}

#[test]
fn target_may_speak_first() {
    let target = Target::start(|peer| {
        peer.send(b"220 ready\r\n");
        peer.take_until(b"QUIT\r\n");
        peer.send(b"221 bye\r\n");
    });
    let balancer = tcp(&[&target]).start();
    let mut client = balancer.client();
    assert_eq!(client.take(11), b"220 ready\r\n");
    client.send("QUIT\r\n");
    assert_eq!(client.rest(), (b"221 bye\r\n".to_vec(), End::Closed));
}

#[test]
fn connections_go_to_the_targets_in_turn_one_to_one() {
    let targets = ["a", "b", "c"].map(|name| {
        Target::start(move |peer| {
            peer.send(name.as_bytes());
            peer.take_rest();
        })
    });
    let balancer = tcp(&targets.each_ref()).one_worker().start();
    let turn: Vec<Vec<u8>> = (0..9).map(|_| balancer.client().take(1)).collect();
    for three in turn.chunks(3) {
        assert_eq!(three, &turn[..3], "{turn:?}");
    }
    assert_eq!(targets.each_ref().map(Target::connection_count), [3, 3, 3]);
}

#[test]
fn half_close_of_the_client_passes_and_the_other_direction_goes_on() {
    let gate = Gate::new();
    let opened = gate.clone();
    let target = Target::start(move |peer| {
        let question = peer.take_rest();
        opened.wait();
        peer.send(&question);
    });
    let balancer = tcp(&[&target]).start();
    let mut client = balancer.client();
    client.send("question");
    client.half_close();
    assert_eq!(target.wait_end(0), End::Closed);
    gate.open();
    assert_eq!(client.rest(), (b"question".to_vec(), End::Closed));
}

#[test]
fn half_close_of_the_target_passes_and_the_other_direction_goes_on() {
    let target = Target::start(|peer| {
        peer.send(b"answer");
        peer.half_close();
        peer.take_rest();
    });
    let balancer = tcp(&[&target]).start();
    let mut client = balancer.client();
    assert_eq!(client.rest(), (b"answer".to_vec(), End::Closed));
    client.send("still here");
    client.half_close();
    assert_eq!(target.wait_end(0), End::Closed);
    assert_eq!(show(&target.connections()[0].received), "still here");
}

#[test]
fn half_close_before_any_byte_passes() {
    let target = Target::start(|peer| {
        peer.take_rest();
        peer.send(b"nothing came");
    });
    let balancer = tcp(&[&target]).start();
    let mut client = balancer.client();
    client.half_close();
    assert_eq!(client.rest(), (b"nothing came".to_vec(), End::Closed));
}

#[test]
fn reset_of_the_client_reaches_the_target_as_reset() {
    let target = Target::echo_bytes();
    let balancer = tcp(&[&target]).start();
    let mut client = balancer.client();
    client.send("x");
    assert_eq!(client.take(1), b"x");
    client.reset();
    assert_eq!(target.wait_end(0), End::Reset);
}

#[test]
fn reset_of_the_target_reaches_the_client_as_reset() {
    let target = Target::start(|peer| {
        peer.take(1);
        peer.reset();
    });
    let balancer = tcp(&[&target]).start();
    let mut client = balancer.client();
    client.send("x");
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
}

#[test]
fn silent_connection_is_closed_on_both_sides_when_idle() {
    let target = Target::echo_bytes();
    let balancer =
        tcp(&[&target]).web("idle_timeout = \"3s\"").home("idle_timeout = \"3s\"").start();
    let mut client = balancer.client();
    let began = Instant::now();
    // Bytes in one direction keep it open beyond the timeout.
    while began.elapsed() < Duration::from_secs(5) {
        client.send("x");
        assert_eq!(client.take(1), b"x");
        assert!(client.is_quiet_for(Duration::from_millis(100)));
    }
    assert_ne!(client.rest().1, End::TimedOut);
    target.wait_end(0);
}

#[test]
fn refused_connection_tries_the_next_target() {
    let (refusing, good) = (Refusing::start(), Target::echo_bytes());
    let balancer = Config::new("l4", vec![refusing.address(), good.address()]).start();
    for _ in 0..6 {
        let mut client = balancer.client();
        client.send("x");
        assert_eq!(client.take(1), b"x");
    }
}

#[test]
fn refused_connection_ends_the_client_where_retries_are_off() {
    let refusing = Refusing::start();
    let balancer = Config::new("l4", vec![refusing.address()]).home("retry = \"never\"").start();
    Client::expect_no_service(LOCALHOST, balancer.address("web"), b"");
}

#[test]
fn connection_without_any_usable_target_is_ended() {
    let (refusing, silent) = (Refusing::start(), Silent::start());
    let configs = [
        Config::new("l4", vec![]),
        Config::new("l4", vec![refusing.address()]),
        Config::new("l4", vec![silent.address()]).home("connect_timeout = \"600ms\""),
    ];
    for config in configs {
        let balancer = config.start();
        Client::expect_no_service(LOCALHOST, balancer.address("web"), b"");
    }
}

#[test]
fn bytes_sent_before_the_target_accepts_are_not_lost() {
    let (refusing, good) = (Refusing::start(), Target::echo_bytes());
    let balancer = Config::new("l4", vec![refusing.address(), good.address()]).start();
    let mut client = balancer.client();
    client.send(vec![b'x'; 100_000]);
    assert_eq!(client.take(100_000), vec![b'x'; 100_000]);
}

/// How much waits in the kernel is the kernel's to choose (a receive buffer may grow to 32 MiB), so
/// the target sends until nothing more is taken, and ends then.
#[test]
fn slow_reader_does_not_fill_the_memory() {
    const SENT_MAX: usize = 512 << 20;
    const HELD_MAX: usize = 16 << 20;
    let (stalled, sent) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let (at_target, counted) = (stalled.clone(), Arc::clone(&sent));
    let target = Target::start(move |peer| {
        let mut stream = peer.stream();
        stream.set_write_timeout(Some(Duration::from_millis(500))).expect("write timeout");
        let piece = vec![b'x'; 64 << 10];
        loop {
            match stream.write(&piece) {
                Ok(count) => counted.fetch_add(count, Relaxed),
                Err(error) if End::of(&error) == End::TimedOut => break at_target.open(),
                Err(error) => panic!("{error} after {counted:?} bytes"),
            };
            assert!(counted.load(Relaxed) < SENT_MAX, "nothing holds the target back");
        }
    });
    let balancer = tcp(&[&target]).start();
    let before = balancer.memory();
    let mut client = Client::connect_narrow(balancer.address("web"), 64 << 10);
    stalled.wait();
    let held = balancer.memory().saturating_sub(before);
    assert!(held < HELD_MAX, "{held} bytes held");
    assert_eq!(client.rest().0.len(), sent.load(Relaxed));
}

/// What waits in the buffers of the kernel takes a slow reader longer than `idle_timeout`.
#[allow(clippy::disallowed_methods, reason = "the pace of a client")]
fn slow_reader_is_served(mode: &'static str) {
    const LENGTH: usize = 24 << 20;
    let target = Target::start(|peer| {
        if peer.take_until(b"\r\n\r\n").is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes());
            (0..LENGTH >> 16).all(|_| peer.send(&[b'x'; 1 << 16]));
        }
        peer.take_rest();
    });
    let config = Config::new(mode, vec![target.address()]);
    let balancer = config.web("idle_timeout = \"2s\"").home("idle_timeout = \"2s\"").start();
    let mut client = balancer.client();
    client.send_get("/");
    let head = client.response_head();
    assert_eq!(head.status, 200);
    // The pace: 320 KB/s for longer than the limit, and then at full speed.
    for _ in 0..80 {
        std::thread::sleep(Duration::from_millis(100));
        client.take(32 << 10);
    }
    assert_eq!(client.take(LENGTH - 80 * (32 << 10)), vec![b'x'; LENGTH - 80 * (32 << 10)]);
}

#[test]
fn slow_reader_is_served_at_l4() {
    slow_reader_is_served("l4");
}

#[test]
fn slow_reader_is_served_at_l7() {
    slow_reader_is_served("l7");
}

/// Requests that are on their way while the process stands still, each behind the response to the
/// one before on its connection.
#[allow(clippy::disallowed_methods, reason = "the pace of the pauses")]
fn pause_loses_nothing(mode: &'static str) {
    const CLIENTS: usize = 64;
    let target = Target::named("a");
    let balancer = Config::new(mode, vec![target.address()]).start();
    let (done, address) = (AtomicBool::new(false), balancer.address("web"));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while !done.load(Relaxed) {
                    assert_eq!(client.get("/").text(), "a");
                }
            });
        }
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(200));
            balancer.signal("STOP");
            std::thread::sleep(Duration::from_millis(1500));
            balancer.signal("CONT");
        }
        done.store(true, Relaxed);
    });
}

#[test]
fn pause_of_the_process_loses_nothing_at_l4() {
    pause_loses_nothing("l4");
}

#[test]
fn pause_of_the_process_loses_nothing_at_l7() {
    pause_loses_nothing("l7");
}

#[test]
fn many_connections_at_once_do_not_mix() {
    let target = Target::echo_bytes();
    let balancer = tcp(&[&target]).start();
    let mut clients: Vec<Client> = (0..100).map(|_| balancer.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("{n:04}"));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.take(4), format!("{n:04}").into_bytes());
    }
    assert_eq!(target.connection_count(), 100);
}
