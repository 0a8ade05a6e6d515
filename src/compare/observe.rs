//! What happens on one way, row by row: each row by doing it and looking at both ends.
//!
//! Load is light here, and all ways are looked at side by side; what needs a quiet machine is in
//! `rounds.rs`. Start with [`observe`]; what single requests show is in `observe/single.rs`, what
//! takes many of them in `observe/crowd.rs`, HTTP/2 and WebSocket in `observe/speak.rs`.

mod crowd;
mod single;
mod speak;

use std::io;
use std::thread;

use super::Error;
use super::cores::Cores;
use super::findings::Column;
use super::stop::Stop;
use super::way::Way;

/// A row: its name, and what fills it in.
type Row = (&'static str, fn(&Way, &Bench<'_>, &mut Column) -> Result<(), Error>);

/// Every row. Memory comes first, while the balancers are fresh: later they have memory to spare.
/// A killed target comes last.
pub(super) const ROWS: [Row; 10] = [
    ("memory", |way, bench, column| {
        column.memory = crowd::memory(way, bench)?;
        Ok(())
    }),
    ("binding", |way, _, column| put(&mut column.binding, single::binding(way))),
    ("head", |way, _, column| {
        let (head, address) = single::head(way)?;
        (column.head, column.client_address) = (Some(head), Some(address));
        Ok(())
    }),
    ("applications", |way, _, column| put(&mut column.applications, single::applications(way))),
    ("WebSocket", |way, _, column| put(&mut column.web_socket, speak::web_socket(way))),
    ("HTTP/2", |way, _, column| put(&mut column.http2, speak::http2(way))),
    ("stickiness", |way, _, column| match way.balancer {
        Some(_) => put(&mut column.stickiness, single::stickiness(way)),
        None => Ok(()),
    }),
    ("connections", |way, bench, column| {
        put(&mut column.connections, crowd::connections(way, bench))
    }),
    ("shares", |way, bench, column| {
        let (even, least) = crowd::shares(way, bench)?;
        (column.shares, column.shares_least) = (Some(even), least);
        Ok(())
    }),
    ("a killed target", |way, bench, column| put(&mut column.killed, crowd::killed(way, bench))),
];

/// Where it is measured, and who is told.
pub(super) struct Bench<'a> {
    pub(super) cores: &'a Cores,
    pub(super) stop: &'a Stop,
    /// Told after each row of each way.
    pub(super) done: &'a (dyn Fn(&str) + Sync),
}

/// Fills in the rows of all ways, row by row, so that all do the same at a time. A row that cannot
/// be measured is left empty and noted; the end that somebody asks for is no such failure.
pub(super) fn observe(ways: &[Way], bench: &Bench<'_>, notes: &mut Vec<String>) -> Vec<Column> {
    let column = |way: &Way| Column { name: way.name, ..Column::default() };
    let mut columns: Vec<Column> = ways.iter().map(column).collect();
    for (what, fill) in ROWS {
        let results: Vec<Result<(), Error>> = thread::scope(|scope| {
            let both = ways.iter().zip(&mut columns);
            let fill = |(way, column): (_, _)| {
                scope.spawn(move || {
                    let result = fill(way, bench, column);
                    (bench.done)(&format!("{}: {what}", way.name));
                    result
                })
            };
            let threads: Vec<_> = both.map(fill).collect();
            let panicked = || Err(failed(io::Error::other("it has panicked")));
            threads.into_iter().map(|row| row.join().unwrap_or_else(|_| panicked())).collect()
        });
        if bench.stop.is_asked() {
            break;
        }
        for (way, error) in ways.iter().zip(results).filter_map(|(way, r)| Some((way, r.err()?))) {
            notes.push(format!("{}, {what}: {error}", way.name));
        }
    }
    columns
}

fn put<T>(place: &mut Option<T>, seen: Result<T, Error>) -> Result<(), Error> {
    *place = Some(seen?);
    Ok(())
}

/// The failure of a row.
fn failed(source: io::Error) -> Error {
    Error::new("no answer as expected", source)
}
