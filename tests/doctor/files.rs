//! Files, directories and sockets of the file system; the configuration.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use super::*;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("set mode");
}

/// A patient with a state directory, which exists.
fn with_state() -> (Patient, PathBuf) {
    let patient = Patient::new();
    let dir = patient.path("state");
    fs::create_dir(&dir).expect("make directory");
    set_mode(&dir, 0o700);
    (patient.server(&format!("state_dir = \"{}\"", dir.display())), dir)
}

#[test]
fn key_that_others_may_read() {
    let (patient, dir) = with_state();
    let key = dir.join("stickiness.key");
    fs::write(&key, "").expect("write");
    set_mode(&key, 0o644);
    patient.examine().expect("key-file-mode", "error", &format!("chmod 600 {}", key.display()));
    set_mode(&key, 0o600);
    patient.examine().expect_no("key-file-mode");
}

#[test]
fn state_directory_that_is_missing_and_cannot_be_made() {
    let patient = Patient::new();
    let above = patient.path("closed");
    fs::create_dir(&above).expect("make directory");
    let patient =
        patient.server(&format!("state_dir = \"{}/state\"", above.display())).under(unprivileged());
    set_mode(&above, 0o500);
    patient.examine().expect("state-dir-missing", "error", "install -d -m 700");
    set_mode(&above, 0o700);
    patient.examine().expect("state-dir-missing", "note", "made at the start");
}

#[test]
fn state_directory_that_cannot_be_written() {
    let (patient, dir) = with_state();
    let patient = patient.under(unprivileged());
    set_mode(&dir, 0o500);
    patient.examine().expect("state-dir-not-writable", "error", "chmod 700");
    set_mode(&dir, 0o700);
    patient.examine().expect_no("state-dir-not-writable");
}

#[test]
fn state_directory_that_others_may_write() {
    let (patient, dir) = with_state();
    set_mode(&dir, 0o777);
    patient.examine().expect("state-dir-exposed", "warning", "chmod 700");
    set_mode(&dir, 0o700);
    patient.examine().expect_no("state-dir-exposed");
}

#[test]
fn state_directory_that_another_process_has_locked() {
    let (patient, dir) = with_state();
    let lock = File::create(dir.join("lock")).expect("lock file");
    lock.lock().expect("lock");
    let holder = format!("process {} ", std::process::id());
    patient.examine().expect("state-dir-locked", "error", &holder);
    lock.unlock().expect("unlock");
    patient.examine().expect_no("state-dir-locked");
}

#[test]
fn state_directory_on_a_full_or_closed_file_system() {
    if !can(&["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/tmp"]) {
        return;
    }
    let (patient, dir) = with_state();
    let mount = |options: &str| {
        format!("mount -t tmpfs -o {options} none {} && exec \"$@\"", dir.display())
    };
    let (full, closed) = (mount("mode=700,size=64k"), mount("mode=700,ro"));
    let patient = patient.under(&["unshare", "--mount", "sh", "-c", &full, "sh"]);
    patient.examine().expect("state-dir-full", "error", "df ");
    let patient = patient.under(&["unshare", "--mount", "sh", "-c", &closed, "sh"]);
    patient.examine().expect("state-dir-read-only", "error", "ReadWritePaths=");
    let diagnosis = patient.under(&[]).examine();
    diagnosis.expect_no("state-dir-full");
    diagnosis.expect_no("state-dir-read-only");
}

#[test]
fn changes_that_are_damaged() {
    let (patient, dir) = with_state();
    fs::write(dir.join("changes.json"), "{").expect("write");
    patient.examine().expect("changes-unreadable", "error", "changes.json");
    fs::remove_file(dir.join("changes.json")).expect("remove");
    patient.examine().expect_no("changes-unreadable");
}

#[test]
fn token_files_that_are_missing_empty_or_open() {
    let patient = Patient::new();
    let token = patient.path("token");
    let control = format!(
        "control = {{ address = \"{}\", token_file = \"{}\", ",
        free_address(),
        token.display()
    );
    let patient = patient.with("control = { ", &control);
    patient.examine().expect("token-file-unreadable", "error", "openssl rand");
    fs::write(&token, "\n").expect("write");
    patient.examine().expect("token-file-empty", "error", "openssl rand");
    fs::write(&token, "secret\n").expect("write");
    patient.examine().expect("token-short", "warning", "6 characters");
    fs::write(&token, "5f2c1de09b7a4c3e8d6f\n").expect("write");
    set_mode(&token, 0o644);
    patient.examine().expect("token-file-mode", "warning", "chmod 640");
    set_mode(&token, 0o640);
    let diagnosis = patient.examine();
    for check in ["token-file-unreadable", "token-file-empty", "token-short", "token-file-mode"] {
        diagnosis.expect_no(check);
    }
}

#[test]
fn control_sockets_that_are_stale_or_answered_by_a_stranger() {
    let patient = Patient::new();
    let path = patient.path("control.sock");
    let listener = UnixListener::bind(&path).expect("bind");
    let stranger = thread::spawn(move || drop(listener.accept().and_then(|_| listener.accept())));
    patient.examine().expect("control-socket-stranger", "error", "fuser");
    // The second connection ended the stranger, and with it its socket.
    stranger.join().expect("no panic");
    patient.examine().expect("control-socket-stale", "note", "rm ");
    fs::remove_file(&path).expect("remove");
    fs::write(&path, "").expect("write");
    patient.examine().expect("control-socket-no-socket", "error", "no socket");
    fs::remove_file(&path).expect("remove");
    let diagnosis = patient.examine();
    for check in ["control-socket-stranger", "control-socket-stale", "control-socket-no-socket"] {
        diagnosis.expect_no(check);
    }
}

#[test]
fn control_socket_whose_directory_cannot_be_written() {
    let patient = Patient::new();
    let dir = patient.path("run");
    fs::create_dir(&dir).expect("make directory");
    let patient = patient.with("/control.sock", "/run/control.sock").under(unprivileged());
    set_mode(&dir, 0o500);
    patient.examine().expect("control-socket-dir", "error", "RuntimeDirectory=");
    set_mode(&dir, 0o755);
    patient.examine().expect_no("control-socket-dir");
}

#[test]
fn access_log_whose_directory_is_missing_or_closed() {
    let patient = Patient::new();
    let dir = patient.path("logs");
    let log = format!("access_log = \"{}/access.log\"", dir.display());
    let patient = patient.with("mode = \"l7\"", &format!("mode = \"l7\"\n{log}"));
    let patient = patient.under(unprivileged());
    patient.examine().expect("log-dir-missing", "error", "install -d -m 750");
    fs::create_dir(&dir).expect("make directory");
    set_mode(&dir, 0o500);
    patient.examine().expect("log-not-writable", "error", "chown ");
    set_mode(&dir, 0o750);
    let diagnosis = patient.examine();
    for check in ["log-dir-missing", "log-not-writable", "log-disk-full"] {
        diagnosis.expect_no(check);
    }
}

#[test]
fn configuration_with_mistakes_or_that_everybody_may_write() {
    let patient = Patient::new();
    patient.examine();
    set_mode(&patient.path("ringway.toml"), 0o666);
    patient.examine().expect("config-exposed", "warning", "chmod 644");
    set_mode(&patient.path("ringway.toml"), 0o644);
    patient.examine().expect_no("config-exposed");
    let diagnosis = patient.with("[server]\n", "[server]\nworkres = 3\n").examine();
    assert_eq!(diagnosis.status, Some(78), "{:#}", diagnosis.report);
    let mistake = diagnosis.find("config-mistake").expect("the mistake").to_string();
    assert!(mistake.contains("workres") && mistake.contains("workers"), "{mistake}");
    assert!(diagnosis.report["overview"].to_string().contains("Linux"), "examined all the same");
}

#[test]
fn configuration_that_does_not_exist() {
    let output =
        Ringway::output(&["doctor", "--format", "json", "--config", "/nonexistent/ringway.toml"]);
    assert_eq!(output.status.code(), Some(66));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let diagnosis = Diagnosis { status: None, report };
    assert!(diagnosis.find("config-unreadable").is_some(), "{:#}", diagnosis.report);
}
