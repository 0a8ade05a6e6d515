//! Key files: made, read, turned, refused.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::stickiness::{Bound, GroupKey, Scope, open as open_value, seal};

/// Names the directory for the process that [`child_makes_keys_and_shows_a_value`] is run in.
const CHILD_DIR: &str = "RINGWAY_TEST_KEY_DIR";

fn bound() -> Bound {
    Bound::Group(GroupKey::of("g"))
}

fn value(keys: &Keys) -> Vec<u8> {
    seal(keys, &Scope::of_forward(&["g"]), [7; 12], bound(), 0).text().to_vec()
}

fn opens(keys: &Keys, value: &[u8]) -> bool {
    let scope = Scope::of_forward(&["g"]);
    open_value(keys, &scope, value, 0, Duration::ZERO) == Some(bound())
}

fn names(dir: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    fs::read_dir(dir).unwrap().map(|entry| name(entry.unwrap())).collect()
}

#[test]
fn key_file_is_made_once_and_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let made = load_or_create(dir.path()).unwrap();
    let mode = fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(names(dir.path()), [KEY_FILE], "nothing else is left behind");
    let loaded = load_or_create(dir.path()).unwrap();
    assert!(opens(&loaded, &value(&made)));
    let other = tempfile::tempdir().unwrap();
    assert!(!opens(&load_or_create(other.path()).unwrap(), &value(&made)));
}

#[test]
fn rotation_keeps_one_key_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = rotate(dir.path()).unwrap();
    assert!(first.previous.is_some(), "the one that was made for the occasion");
    let second = rotate(dir.path()).unwrap();
    assert!(opens(&second, &value(&first)));
    let third = rotate(dir.path()).unwrap();
    assert!(!opens(&third, &value(&first)));
    let loaded = load_or_create(dir.path()).unwrap();
    assert!(opens(&loaded, &value(&third)) && opens(&loaded, &value(&second)));
    assert_eq!(names(dir.path()), [KEY_FILE]);
    let mode = fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn keys_in_memory_rotate_too() {
    let first = in_memory().unwrap();
    let second = rotate_in_memory(&first).unwrap();
    let third = rotate_in_memory(&second).unwrap();
    assert!(opens(&second, &value(&first)) && !opens(&first, &value(&second)));
    assert!(!opens(&third, &value(&first)));
}

#[test]
fn file_that_others_may_use_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    load_or_create(dir.path()).unwrap();
    let path = dir.path().join(KEY_FILE);
    for mode in [0o640, 0o604, 0o620, 0o601, 0o644, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for result in [load_or_create(dir.path()), rotate(dir.path())] {
            let text = result.unwrap_err().to_string();
            assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
            assert!(text.contains(&format!("mode 0{mode:o}")), "{text}");
        }
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(load_or_create(dir.path()).is_ok());
    }
}

#[test]
fn what_a_crash_left_behind_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".stickiness.key.0123456789abcdef"), "ringway stick").unwrap();
    let made = load_or_create(dir.path()).unwrap();
    assert!(opens(&rotate(dir.path()).unwrap(), &value(&made)));
}

#[test]
fn second_rotation_at_once_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    load_or_create(dir.path()).unwrap();
    let path = dir.path().join(KEY_FILE);
    let held = File::open(&path).unwrap();
    held.lock().unwrap();
    assert!(matches!(rotate(dir.path()), Err(KeyError::Rotating { .. })));
    assert!(load_or_create(dir.path()).is_ok(), "reading waits for nothing");
    drop(held);
    let opened = File::open(&path).unwrap();
    assert!(is_in_place(&opened, &path));
    rotate(dir.path()).unwrap();
    assert!(!is_in_place(&opened, &path));
}

#[test]
fn missing_directory_is_an_error_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let text = load_or_create(&dir.path().join("none")).unwrap_err().to_string();
    assert!(text.contains("the state directory must exist"), "{text}");
}

#[test]
fn processes_that_create_the_file_at_once_end_with_one_key() {
    for round in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let child = |_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg("stickiness::keys::tests::child_makes_keys_and_shows_a_value")
                .env(CHILD_DIR, dir.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let children: Vec<_> = (0..4).map(child).collect();
        let keys = load_or_create(dir.path()).unwrap();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let shown = text.split_whitespace().find_map(|word| word.strip_prefix("value:"));
            assert!(opens(&keys, shown.unwrap().as_bytes()), "round {round}: {text}");
        }
        assert_eq!(names(dir.path()), [KEY_FILE]);
    }
}

/// Does nothing unless it is run by the test above.
#[test]
fn child_makes_keys_and_shows_a_value() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        let keys = load_or_create(dir.as_ref()).unwrap();
        println!("\nvalue:{}\n", String::from_utf8(value(&keys)).unwrap());
    }
}

#[test]
fn text_of_a_key_file_is_read_strictly_and_explained() {
    const HEAD: &str = "ringway stickiness keys, version 1\n";
    let (one, two) = ("0f".repeat(32), "F1".repeat(32));
    let good = [
        format!("{HEAD}current {one}\n"),
        format!("{HEAD}\n# a comment\r\nprevious {two}\r\n current {one}"),
    ];
    for text in good {
        let secrets = text::read(text.as_bytes()).map_err(|problem| (problem, text.clone()));
        assert_eq!(*secrets.map(|secrets| secrets.current).unwrap(), [15; 32], "{text}");
    }
    let bad = [
        (String::new(), "first line"),
        (format!("current {one}\n"), "first line"),
        (HEAD.replace('1', "2") + &format!("current {one}\n"), "first line"),
        (HEAD.into(), "no current key"),
        (format!("{HEAD}previous {one}\n"), "no current key"),
        (format!("{HEAD}current {one}\ncurrent {two}\n"), "line 3 names a key that"),
        (format!("{HEAD}current {}\n", &one[1..]), "line 2 has no 64"),
        (format!("{HEAD}current {one}0\n"), "line 2 has no 64"),
        (format!("{HEAD}current {}g\n", &one[1..]), "line 2 has no 64"),
        (format!("{HEAD}next {one}\n"), "line 2 names no key"),
        (format!("{HEAD}{}", "#".repeat(KEY_FILE_BYTES_MAX)), "more than 4096 bytes"),
    ];
    for (text, expected) in bad {
        let problem = text::read(text.as_bytes()).map(|_| ()).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
        assert!(!problem.contains(&one), "the key is not shown");
    }
}

#[test]
fn text_of_a_key_file_stays_what_it_is() {
    let secret = |byte| Secret::new([byte; KEY_BYTES]);
    let secrets = Secrets { current: secret(0x0f), previous: Some(secret(0xa0)) };
    let text = String::from_utf8(text::write(&secrets).to_vec()).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let (current, previous) = ("0f".repeat(32), "a0".repeat(32));
    let expected = [
        "ringway stickiness keys, version 1".to_owned(),
        format!("current {current}"),
        format!("previous {previous}"),
    ];
    assert_eq!(lines, expected);
    let read = text::read(text.as_bytes()).map_err(drop).unwrap();
    assert_eq!((*read.current, *read.previous.unwrap()), ([0x0f; 32], [0xa0; 32]));
}
