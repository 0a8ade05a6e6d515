//! State directory, keys, tokens, control socket, and the configuration file itself.

use std::path::Path;

use crate::doctor::facts::{Control, Facts, File, Kind};
use crate::doctor::finding::Finding;
use crate::model::{ControlApi, Model};
use crate::stickiness::keys;

/// Room that a change of the configuration may need, in bytes.
const ROOM_MIN: u64 = 1024 * 1024;
/// Characters below which a token can be guessed.
const TOKEN_CHARACTERS_MIN: usize = 16;

/// Permission to read, write and search.
const ALL: u32 = 7;
/// Permission to make files in a directory.
pub(super) const ALL_BUT_READ: u32 = 3;

pub(super) fn judge(model: &Model, facts: &Facts) -> Vec<Finding> {
    let server = &model.server;
    let mut findings = Vec::new();
    if let Some(dir) = &server.state_dir {
        findings.extend(state_dir(dir, facts));
        findings.extend(key_file(&dir.join(keys::KEY_FILE), facts));
        findings.extend(locked(dir, facts));
    }
    if let Some(why) = &facts.paths.store {
        findings.push(changes(why));
    }
    if let Some(path) = &server.control.token_file {
        findings.extend(token(path, facts));
    }
    findings.extend(socket(&server.control, facts));
    findings.extend(config(facts));
    findings
}

fn state_dir(dir: &Path, facts: &Facts) -> Vec<Finding> {
    let shown = dir.display();
    let uid = facts.process.uid;
    let lost = "without it ringway does not start";
    let Some(file) = facts.paths.file(dir) else {
        return vec![missing_dir(dir, facts)];
    };
    if file.kind != Kind::Directory {
        let what = format!("state_dir {shown} is no directory");
        let finding = Finding::error("state-dir-no-directory", what).why(lost);
        return vec![finding.cure("state_dir = \"/var/lib/ringway\"    in [server]")];
    }
    let mut findings = Vec::new();
    if !facts.process.may(file, ALL) {
        let what = format!("user id {uid} may not write in state_dir {shown} ({})", owner(file));
        findings.push(
            Finding::error("state-dir-not-writable", what)
                .why(lost)
                .cure(format!("chown {uid} {shown} && chmod 700 {shown}"))
                .cure("StateDirectory=ringway    in the unit of systemd does that"),
        );
    }
    if file.mode & 0o022 != 0 {
        let what = format!("others may write in state_dir {shown} ({})", owner(file));
        findings.push(
            Finding::warning("state-dir-exposed", what)
                .why("who can replace the key of the cookies can bind clients to any target")
                .cure(format!("chmod 700 {shown}")),
        );
    }
    if uid == 0 && file.uid != 0 {
        let what = format!("state_dir {shown} belongs to user id {}, and this is root", file.uid);
        findings.push(
            Finding::note("state-dir-owner", what)
                .why("what was judged here is what root may do, not that user")
                .cure(format!("sudo -u '#{}' ringway doctor", file.uid)),
        );
    }
    findings.extend(room(dir, facts));
    findings
}

pub(super) fn owner(file: &File) -> String {
    format!("mode {:04o}, user id {}, group id {}", file.mode, file.uid, file.gid)
}

fn missing_dir(dir: &Path, facts: &Facts) -> Finding {
    let shown = dir.display();
    let uid = facts.process.uid;
    let above = facts.paths.existing(dir);
    let can_make = above.is_some_and(|(_, file)| {
        file.kind == Kind::Directory && facts.process.may(file, ALL_BUT_READ)
    });
    if can_make {
        return Finding::note("state-dir-missing", format!("state_dir {shown} does not exist"))
            .why("it is made at the start, for this user only")
            .cure("nothing");
    }
    let above = above.map_or_else(|| "/".into(), |(path, _)| path.display().to_string());
    let what = format!("state_dir {shown} does not exist, and user id {uid} may not make it");
    Finding::error("state-dir-missing", what)
        .why(format!("{above} does not let this user write; ringway does not start"))
        .cure(format!("install -d -m 700 -o {uid} {shown}    as root"))
        .cure("StateDirectory=ringway    in the unit of systemd does that")
}

fn room(dir: &Path, facts: &Facts) -> Option<Finding> {
    let room = facts.paths.rooms.get(dir)?;
    let shown = dir.display();
    if room.read_only {
        let what = format!("state_dir {shown} is on a file system that cannot be written");
        return Some(
            Finding::error("state-dir-read-only", what)
                .why("without it ringway does not start")
                .cure(format!("findmnt -T {shown}    shows the file system"))
                .cure(format!("ReadWritePaths={shown}    in the unit, if that closed it")),
        );
    }
    (room.bytes < ROOM_MIN).then(|| {
        let what = format!("the file system of state_dir {shown} has {} bytes left", room.bytes);
        Finding::error("state-dir-full", what)
            .why("changes of the configuration cannot be kept and are refused")
            .cure(format!(
                "df {shown}; du -x --max-depth=2 / | sort -n | tail    finds what is large"
            ))
    })
}

fn key_file(path: &Path, facts: &Facts) -> Option<Finding> {
    let file = facts.paths.file(path)?;
    let shown = path.display();
    if file.mode & 0o077 != 0 {
        let what = format!("the key file {shown} is open to others ({})", owner(file));
        return Some(
            Finding::error("key-file-mode", what)
                .why("ringway refuses a key that others may know, and does not start")
                .cure(format!("chmod 600 {shown}"))
                .cure("ringway keys rotate    afterwards, if others may have read it"),
        );
    }
    (!facts.process.may(file, 4)).then(|| {
        let uid = facts.process.uid;
        let what = format!("user id {uid} may not read the key file {shown} ({})", owner(file));
        Finding::error("key-file-unreadable", what)
            .why("ringway does not start without its key")
            .cure(format!("chown {uid} {shown}"))
    })
}

/// A process other than the one that answers holds the lock of the state directory.
fn locked(dir: &Path, facts: &Facts) -> Option<Finding> {
    let running = facts.running.as_ref().map(|status| status.pid);
    let holder = facts.paths.lock_holder.filter(|holder| Some(*holder) != running)?;
    let what = format!("process {holder} holds the lock of state_dir {}", dir.display());
    Some(
        Finding::error("state-dir-locked", what)
            .why("another ringway keeps its changes there; a second one does not start")
            .cure(format!("ps -o pid,user,lstart,args -p {holder}    shows it"))
            .cure("state_dir = \"...\"    another one for each ringway"),
    )
}

fn changes(why: &str) -> Finding {
    let (what, cure) = why.rsplit_once("; ").unwrap_or((why, ""));
    Finding::error("changes-unreadable", what)
        .why("what was changed through the control API is kept there; ringway does not start")
        .cure(cure)
}

fn token(path: &Path, facts: &Facts) -> Option<Finding> {
    let shown = path.display();
    let make = format!("openssl rand -hex 32 > {shown} && chmod 600 {shown}");
    let closed = "the control API does not listen on its address without a token";
    match facts.paths.token.as_ref()? {
        Err(cause) => {
            let what = format!("the token file {shown} cannot be read: {cause}");
            Some(Finding::error("token-file-unreadable", what).why(closed).cure(make))
        }
        Ok(token) if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            let what = format!("the first line of the token file {shown} is no token");
            Some(Finding::error("token-file-empty", what).why(closed).cure(make))
        }
        Ok(token) if token.len() < TOKEN_CHARACTERS_MIN => {
            let what = format!("the token in {shown} has {} characters", token.len());
            let finding = Finding::warning("token-short", what);
            Some(finding.why("it can be guessed; whoever has it may change everything").cure(make))
        }
        Ok(_) => {
            let file = facts.paths.file(path).filter(|file| file.mode & 0o007 != 0)?;
            let what = format!("everybody may read the token file {shown} ({})", owner(file));
            Some(
                Finding::warning("token-file-mode", what)
                    .why("whoever has the token may change everything")
                    .cure(format!("chmod 640 {shown}")),
            )
        }
    }
}

fn socket(control: &ControlApi, facts: &Facts) -> Option<Finding> {
    let path = control.socket.as_ref()?;
    let shown = path.display();
    match &facts.control {
        Control::Ringway => None,
        Control::Stale if !may_be_socket(path, facts) => {
            Some(stranger(path, "nobody listens", facts))
        }
        Control::Stale => Some(
            Finding::note("control-socket-stale", format!("nobody listens on {shown}"))
                .why("a ringway that was killed left it; the next one replaces it")
                .cure(format!("rm {shown}    if none is to run")),
        ),
        Control::Denied => Some(
            Finding::note("control-socket-denied", format!("this user may not use {shown}"))
                .why("so it is not known whether a ringway runs")
                .cure("sudo ringway doctor")
                .cure("usermod -aG ringway \"$USER\"    and log in again, to use it for good"),
        ),
        Control::Stranger(why) => Some(stranger(path, why, facts)),
        Control::Absent => socket_dir(control, path, facts),
    }
}

fn may_be_socket(path: &Path, facts: &Facts) -> bool {
    facts.paths.file(path).is_none_or(|file| file.kind == Kind::Socket)
}

fn stranger(path: &Path, why: &str, facts: &Facts) -> Finding {
    let shown = path.display();
    let finding = match may_be_socket(path, facts) {
        true => Finding::error(
            "control-socket-stranger",
            format!("what answers on {shown} is no ringway: {why}"),
        ),
        false => Finding::error("control-socket-no-socket", format!("{shown} is no socket")),
    };
    finding
        .why("the control API cannot have its socket")
        .cure(format!("fuser -v {shown}    shows who uses it; stop that, or remove the file"))
        .cure("control = { socket = \"/run/ringway/control.sock\" }    in [server]")
}

fn socket_dir(control: &ControlApi, path: &Path, facts: &Facts) -> Option<Finding> {
    let dir = path.parent()?;
    let (above, file) = facts.paths.existing(dir)?;
    if file.kind == Kind::Directory && facts.process.may(file, ALL_BUT_READ) {
        return None;
    }
    let uid = facts.process.uid;
    let what = format!("user id {uid} may not make the control socket {}", path.display());
    let finding = match control.optional {
        true => Finding::warning("control-socket-dir", what)
            .why("it runs without the control API, so `ringway status` and its like do not work"),
        false => Finding::error("control-socket-dir", what)
            .why(format!("{} does not let it write; ringway does not start", above.display())),
    };
    let dir = dir.display();
    Some(
        finding
            .cure(format!("install -d -m 755 -o {uid} {dir}    as root"))
            .cure("RuntimeDirectory=ringway    in the unit of systemd does that"),
    )
}

fn config(facts: &Facts) -> Option<Finding> {
    let path = &facts.paths.config;
    let file = facts.paths.file(path).filter(|file| file.kind == Kind::File)?;
    (file.mode & 0o002 != 0).then(|| {
        let what =
            format!("everybody may write the configuration {} ({})", path.display(), owner(file));
        Finding::warning("config-exposed", what)
            .why("who can write it decides where the traffic goes")
            .cure(format!("chmod 644 {}", path.display()))
    })
}
