//! The store of run-time changes: what was saved is there, whole, whatever ended the process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringway::overlay::store::{self, Store};
use ringway::overlay::{Change, Keyed, Overlay, Registration};
use serde_json::json;

const FILE: &str = "[[target_groups]]\nname = \"home\"\ntargets = []\n\
    [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:80\"\ndefault = { forward = \"home\" }\n";

/// Names the state directory to the child, and so makes a child of this test's binary.
const CHILD: &str = "RINGWAY_TEST_STORE_CHILD";

/// How often the child is killed.
const KILLS: usize = 200;

/// Targets of each saved overlay; with these it takes more than one page.
const TARGETS: u16 = 100;

fn file() -> Keyed {
    Keyed::parse(FILE).unwrap()
}

/// An overlay that says `number` in a hundred places.
fn numbered(number: u64) -> Overlay {
    let target = |port| Registration {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        weight: None,
        expires: Some(number),
    };
    let targets: Vec<_> = (1..=TARGETS).map(target).collect();
    Overlay::empty().merged(&file(), &Change::register("home", &targets))
}

/// The number that an overlay of [`numbered`] says everywhere; zero for an empty one.
fn number_of(overlay: &Overlay) -> u64 {
    let number = overlay.next_expiry().unwrap_or_default();
    let expected = if number == 0 { Overlay::empty() } else { numbered(number) };
    assert_eq!(*overlay, expected, "a half change");
    number
}

/// Not a test of its own: the process that `a_killed_writer...` kills.
#[test]
fn child_that_saves_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let store = Store::open(Path::new(&dir)).unwrap();
    let mut number = number_of(&store.load().unwrap());
    let mut out = std::io::stdout();
    loop {
        number += 1;
        store.save(&numbered(number)).unwrap();
        out.write_all(format!("\nsaved {number}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

fn spawn_child(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_saves_until_it_is_killed", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child some time after it has saved `saves` times; returns the last save that it told
/// of, if any.
fn kill_after(mut child: Child, saves: usize, time: Duration) -> Option<u64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = lines.filter_map(|line| line.ok()?.strip_prefix("saved ")?.parse().ok());
    let mut last = told.by_ref().take(saves).last();
    let instant = Instant::now() + time;
    while Instant::now() < instant {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    last = told.last().or(last);
    child.wait().unwrap();
    last
}

#[test]
fn a_killed_writer_loses_no_change_it_told_of_and_leaves_no_half_one() {
    let dir = tempfile::tempdir().unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut saved, mut unheard) = (0, 0);
    for _ in 0..KILLS {
        let time = Duration::from_micros(random.u64(0..4_000));
        let last = kill_after(spawn_child(dir.path()), random.usize(0..4), time).unwrap_or(saved);
        let found = number_of(&store::load(dir.path()).unwrap());
        assert!(found == last || found == last + 1, "told of {last}, found {found}");
        unheard += u64::from(found != last);
        saved = found;
    }
    println!("{saved} saves, {unheard} of them untold when the kill came");
    assert!(saved > 0);
}

#[test]
fn an_empty_or_absent_directory_holds_no_changes() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("new/state");
    assert_eq!(store::load(&state).unwrap(), Overlay::empty());
    let store = Store::open(&state).unwrap();
    assert_eq!(store.load().unwrap(), Overlay::empty());
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_was_saved_is_loaded_and_only_its_owner_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for number in [1, 2] {
        store.save(&numbered(number)).unwrap();
        assert_eq!(store.load().unwrap(), numbered(number));
    }
    let mode = |name| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(store::FILE), mode(store::LOCK)), (0o600, 0o600));
}

#[test]
fn what_a_change_was_over_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let with_target = Keyed::parse(&FILE.replace("[]", "[\"127.0.0.1:1\"]")).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let change = Change::set_weight("home", address, 5);
    let overlay = Overlay::empty().merged(&with_target, &change);
    let store = Store::open(dir.path()).unwrap();
    store.save(&overlay).unwrap();
    let mut loaded = store.load().unwrap();
    assert_eq!(loaded, overlay);
    assert_eq!(loaded.reconcile(&file()).len(), 1);
    assert!(loaded.is_empty());
}

#[test]
fn a_damaged_file_is_an_error_with_a_cure_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(store::FILE);
    let whole = json!({"version": 1, "changes": {}, "over_file": []}).to_string();
    let cases = [
        ("", "damaged", "move it away"),
        (&whole[..whole.len() / 2], "damaged", "put a copy of it back"),
        ("[]", "no version", "move it away"),
        (r#"{"version": 2, "later": true}"#, "version 2", "the ringway that wrote it"),
        (r#"{"version": 1, "changes": 5, "over_file": []}"#, "not an object", "move it away"),
        (r#"{"version": 1, "changes": {}}"#, "missing field `over_file`", "move it away"),
    ];
    for (text, problem, cure) in cases {
        fs::write(&path, text).unwrap();
        let error = Store::open(dir.path()).unwrap().load().unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains(problem) && error.contains(cure), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = store::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("directory"), "{error}");
}

#[test]
fn what_a_killed_writer_left_is_removed_by_the_next_writer_only() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("changes.json.new");
    fs::write(&left, "{\"version\": 1, \"cha").unwrap();
    assert_eq!(store::load(dir.path()).unwrap(), Overlay::empty());
    assert!(left.exists(), "a reader must not disturb a writer");
    let store = Store::open(dir.path()).unwrap();
    assert!(!left.exists());
    fs::write(&left, "half").unwrap();
    store.save(&numbered(1)).unwrap();
    assert_eq!(store.load().unwrap(), numbered(1));
}

#[test]
fn one_process_writes_at_a_time_and_can_hand_over() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    first.save(&numbered(1)).unwrap();
    let refused = Store::open(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("is locked: another ringway"), "{refused}");
    assert_eq!(store::load(dir.path()).unwrap(), numbered(1));
    first.release().unwrap();
    let second = Store::open(dir.path()).unwrap();
    second.save(&numbered(2)).unwrap();
    drop(second);
    assert_eq!(Store::open(dir.path()).unwrap().load().unwrap(), numbered(2));
}

#[test]
fn what_is_handed_over_is_what_was_there() {
    let text = store::text_of(&numbered(7));
    assert_eq!(store::overlay_of(text.as_bytes()), Ok(numbered(7)));
    let text = text.replace("\"version\": 1", "\"version\": 2");
    let error = store::overlay_of(text.as_bytes()).unwrap_err();
    assert!(error.contains("version 2, while this ringway knows version 1"), "{error}");
}

#[test]
fn a_state_directory_that_is_a_file_is_an_error_with_a_cure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    fs::write(&path, "").unwrap();
    let error = Store::open(&path).unwrap_err().to_string();
    assert!(error.contains("must be a directory"), "{error}");
}
