//! Files and batches without a balancer: rotation, reopening, bounds.

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Waker};

use super::place::{LogFile, Place};
use super::*;
use crate::model::Rotation;

const NEVER: Rotation = Rotation { bytes: None, every: None, keep: 3 };

fn sink(path: &Path, rotation: Rotation) -> LogSink {
    LogSink::File { path: path.to_owned(), rotation }
}

fn aside(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(45);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        thread::yield_now();
    }
}

#[test]
fn file_of_an_earlier_day_is_put_aside_at_its_next_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, "old\n").unwrap();
    let day = Duration::from_secs(24 * 3600);
    let yesterday = std::time::SystemTime::now() - day;
    let file = fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(yesterday).unwrap();
    let rotation = Rotation { every: Some(day), ..NEVER };
    let mut place = Place::open(&sink(&path, rotation)).unwrap();
    place.rotate();
    assert_eq!(fs::read_to_string(aside(&path, 1)).unwrap(), "old\n");
    place.write(b"new\n").unwrap();
    place.rotate();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new\n", "not due again");
}

#[test]
fn as_many_files_are_kept_as_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let rotation = Rotation { bytes: Some(4), ..NEVER };
    let mut place = Place::open(&sink(&path, rotation)).unwrap();
    for number in 0..6 {
        place.write(format!("{number}...\n").as_bytes()).unwrap();
        place.rotate();
    }
    let found: Vec<_> =
        (1..=4).map(|number| fs::read_to_string(aside(&path, number)).ok()).collect();
    let kept = |number: u32| Some(format!("{number}...\n"));
    assert_eq!(found, [kept(5), kept(4), kept(3), None]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

#[test]
fn file_that_another_process_has_put_aside_is_only_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let rotation = Rotation { bytes: Some(4), ..NEVER };
    let mut ours = Place::open(&sink(&path, rotation)).unwrap();
    let mut theirs = Place::open(&sink(&path, rotation)).unwrap();
    theirs.write(b"theirs\n").unwrap();
    theirs.rotate();
    ours.write(b"ours\n").unwrap();
    ours.rotate();
    assert_eq!(fs::read_to_string(aside(&path, 1)).unwrap(), "theirs\nours\n");
    assert!(!aside(&path, 2).exists());
    ours.write(b"more\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "more\n");
}

#[test]
fn devices_are_never_put_aside() {
    let rotation = Rotation { bytes: Some(1), ..NEVER };
    let mut place = Place::open(&sink(Path::new("/dev/null"), rotation)).unwrap();
    place.write(b"line\n").unwrap();
    place.rotate();
    assert!(Path::new("/dev/null").exists() && !Path::new("/dev/null.1").exists());
}

#[test]
fn writer_writes_everything_before_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let writer = Writer::open(&sink(&path, NEVER)).unwrap();
    let (pens, _bell) = Pens::new().unwrap();
    for number in 0..10_000 {
        assert!(pens.has_room(&writer) || number > 0);
        pens.write(&writer, |out| out.extend_from_slice(format!("{number}\n").as_bytes()));
    }
    pens.close();
    writer.close();
    wait("the end", || writer.is_closed());
    let expected: String = (0..10_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert_eq!(writer.lines(), Lines { written: 10_000, lost: 0 });
}

#[test]
fn writer_that_nobody_holds_any_more_writes_the_rest_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let writer = Writer::open(&sink(&path, NEVER)).unwrap();
    let shared = writer.shared.clone();
    let (pens, _bell) = Pens::new().unwrap();
    pens.write(&writer, |out| out.extend_from_slice(b"line\n"));
    drop(writer);
    pens.close();
    drop(pens);
    wait("the end", || shared.is_closed.load(Ordering::Acquire));
    assert_eq!(fs::read_to_string(&path).unwrap(), "line\n");
}

/// Writes lines until there is no room; how many bytes that were.
fn fill(pens: &Pens, writer: &Arc<Writer>) -> usize {
    let line = [&[b'x'; 999][..], b"\n"].concat();
    let mut bytes = 0;
    while pens.has_room(writer) {
        pens.write(writer, |out| out.extend_from_slice(&line));
        bytes += line.len();
        assert!(bytes < 100 * BATCH_BYTES, "no bound");
    }
    bytes
}

#[test]
fn writer_that_is_stalled_bounds_memory_and_room_comes_with_it() {
    let writer = Writer::open(&sink(Path::new("/dev/full"), NEVER)).unwrap();
    let (pens, _bell) = Pens::new().unwrap();
    let bytes = fill(&pens, &writer);
    let most = (BATCHES_MAX + 1) * (BATCH_BYTES + 1000);
    assert!((BATCHES_MAX * BATCH_BYTES..=most).contains(&bytes), "{bytes}");
    let mut waits = pin!(pens.room(&writer));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waits.as_mut().poll(&mut cx).is_pending());
    // What is given up makes room.
    writer.give_up();
    wait("room", || {
        pens.take_back();
        waits.as_mut().poll(&mut cx).is_ready()
    });
    pens.close();
    writer.close();
    wait("the end", || writer.is_closed());
    assert_eq!(writer.lines(), Lines { written: 0, lost: bytes as u64 / 1000 });
}

#[test]
fn lines_are_found_from_anywhere_in_them() {
    let bytes = b"one\ntwo\n";
    assert_eq!((line_start(bytes, 0), line_end(bytes, 0)), (0, 4));
    assert_eq!((line_start(bytes, 3), line_end(bytes, 3)), (0, 4));
    assert_eq!((line_start(bytes, 4), line_end(bytes, 4)), (4, 8));
    assert_eq!((line_start(bytes, 6), line_end(bytes, 6)), (4, 8));
    assert_eq!(lines(bytes), 2);
}

#[test]
fn line_that_was_written_in_part_is_whole_in_the_file_that_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let place = Place::File(LogFile::full_after(&path, 6).unwrap());
    let shared = Arc::<Shared>::default();
    let mut desk = Desk { place, shared: shared.clone(), complained: None };
    let writing = thread::spawn(move || desk.write(b"one\ntwo\nthree\n"));
    wait("a part", || fs::read(&path).is_ok_and(|bytes| bytes == b"one\ntw"));
    fs::rename(&path, aside(&path, 1)).unwrap();
    shared.reopens.store(true, Ordering::Release);
    writing.thread().unpark();
    assert_eq!(writing.join().unwrap(), 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "two\nthree\n");
}
