//! Addresses to listen on, targets, and a ringway that runs already.

use super::*;

#[test]
fn port_that_another_program_has() {
    let patient = Patient::new();
    let taken = patient.target.address().to_string();
    let diagnosis = patient.listening_on(&taken).examine();
    let owner = format!("(pid {}) has the port", std::process::id());
    diagnosis.expect("port-in-use", "error", &owner);
    diagnosis.expect("port-in-use", "error", &format!("listener `web` cannot listen on {taken}"));
    let free = free_address().to_string();
    Patient::new().listening_on(&free).examine().expect_no("port-in-use");
}

#[test]
fn port_that_needs_a_privilege() {
    let patient = Patient::new().listening_on("127.0.0.1:81").under(unprivileged());
    let first: u16 = run("cat", &["/proc/sys/net/ipv4/ip_unprivileged_port_start"])
        .trim()
        .parse()
        .unwrap_or(1024);
    if first <= 81 {
        eprintln!("SKIPPED: ports from {first} on need no privilege here");
        return;
    }
    patient.examine().expect("port-privileged", "error", "setcap cap_net_bind_service=+ep");
    let other = free_address().to_string();
    let cured = Patient::new().listening_on(&other).under(unprivileged());
    cured.examine().expect_no("port-privileged");
}

#[test]
fn address_of_another_machine() {
    let patient = Patient::new().listening_on("192.0.2.1:8080");
    patient.examine().expect("address-missing", "error", "ip -brief address");
}

#[test]
fn port_among_those_for_outgoing_connections() {
    let range = run("cat", &["/proc/sys/net/ipv4/ip_local_port_range"]);
    let first = range.split_whitespace().next().expect("range").to_owned();
    let patient = Patient::new().listening_on(&format!("127.0.0.1:{first}"));
    let reserved = format!("net.ipv4.ip_local_reserved_ports='{first}'");
    patient.examine().expect("port-not-reserved", "warning", &reserved);
    Patient::new().examine().expect_no("port-not-reserved");
}

#[test]
fn targets_that_refuse_or_do_not_answer() {
    let (refusing, silent) = (Refusing::start(), Silent::start());
    let good = Target::named("good");
    let both = |bad| format!("\"{bad}\", \"{}\"", good.address());
    let diagnosis = Patient::new().probing(&both(refusing.address())).examine();
    diagnosis.expect("target-refused", "warning", &refusing.address().to_string());
    let alone = format!("\"{}\"", refusing.address());
    let diagnosis = Patient::new().probing(&alone).examine();
    diagnosis.expect("target-refused", "error", "no target of `home` answers");
    let patient = Patient::new().probing(&both(silent.address()));
    let diagnosis = patient.group("connect_timeout = \"2s\"").examine();
    diagnosis.expect("target-timeout", "warning", "2s");
    let diagnosis = Patient::new().probing(&format!("\"{}\"", good.address())).examine();
    assert!(diagnosis.report["overview"].to_string().contains("1 of 1 answer"));
    for check in ["target-refused", "target-timeout"] {
        diagnosis.expect_no(check);
    }
}

#[test]
fn targets_that_answer_otherwise_than_the_health_check_asks() {
    let head = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let answers: [(Target, &str, &str); 3] = [
        (Target::answering(head), "target-status", "matcher = \\\"200-299,404\\\""),
        (Target::answering_once("220 mail\r\n"), "target-malformed", "protocol = \\\"tcp\\\""),
        (
            Target::start(|peer| drop(peer.take_rest())),
            "target-silent",
            "no answer to the probe within 3s",
        ),
    ];
    for (target, check, about) in answers {
        let patient = Patient::new().probing(&format!("\"{}\"", target.address()));
        patient.examine().expect(check, "error", about);
        let cured = patient.with("timeout = \"3s\"", "enabled = false");
        cured.examine().expect_no(check);
    }
}

#[test]
fn targets_to_which_no_local_port_is_left() {
    // Ten connections take all of ten ports; the doctor's own is the one too many.
    let script = "cd /proc/sys/net/ipv4 && echo '40000 40009' > ip_local_port_range && \
                  ip link set lo up && exec python3 -c '\
import socket, subprocess, sys\n\
listener = socket.create_server((\"127.0.0.1\", 5000), backlog=100)\n\
held = [socket.create_connection((\"127.0.0.1\", 5000)) for _ in range(10)]\n\
sys.exit(subprocess.run(sys.argv[1:]).returncode)' \"$@\"";
    let under = ["unshare", "--net", "sh", "-c", script, "sh"];
    if !can(&[&under[..], &["true"]].concat()) {
        return;
    }
    let diagnosis = Patient::new().probing("\"127.0.0.1:5000\"").under(&under).examine();
    let range = "net.ipv4.ip_local_port_range='1024 65535'";
    diagnosis.expect("target-no-port", "error", range);
    diagnosis.expect("local-ports-used", "error", "10 of 10 local ports lead to target");
}

#[test]
fn ringway_that_runs_already_is_no_fault() {
    let address = free_address().to_string();
    let patient = Patient::new().listening_on(&address);
    let running = Balancer::start(&patient.config);
    let diagnosis = patient.examine();
    diagnosis.expect("already-running", "note", &format!("process {}", running.id()));
    diagnosis.expect_no("port-in-use");
    let judged = diagnosis.report["judged"].as_str().expect("judged");
    assert!(judged.contains(&format!("pid {}", running.id())), "{judged}");
    // For another configuration it is a stranger on the port.
    let other = Patient::new().listening_on(&address).examine();
    other.expect("port-in-use", "error", &format!("ringway (pid {})", running.id()));
    drop(running);
    patient.examine().expect_no("already-running");
}

#[test]
fn targets_get_one_connection_and_one_probe() {
    let target = Target::named("a");
    Patient::new().probing(&format!("\"{}\"", target.address())).examine();
    target.wait("two connections", |connections| connections.len() == 2);
    assert_eq!(target.requests().len(), 1);
}
