//! Families of the process, its workers and its rings.

use std::fmt;

use super::page::{Page, bytes, family, seconds};
use super::{STATES, Sample};
use crate::metrics::Totals;

pub(super) fn write(sample: &Sample, page: &mut Page<'_>) -> fmt::Result {
    let labels = [("version", sample.version), ("driver", sample.driver)];
    page.info(family("ringway_build", "Version, and the driver that the workers run on"), &labels)?;
    configuration(sample, page)?;
    spans(sample, page)?;
    workers(sample, page)?;
    let errors = Totals::of_all(&sample.workers).errors;
    let kinds = sample.error_kinds.iter().zip(errors);
    page.counters(
        family("ringway_errors", "Exchanges and connections that did not end well, by kind"),
        kinds.map(|(kind, count)| ([("kind", *kind)], count)),
    )?;
    if let Some(rings) = sample.rings {
        let submissions = family("ringway_ring_submissions", "Operations given to the kernel");
        page.counter(submissions, rings.submissions)?;
        let completions = family("ringway_ring_completions", "Operations that have ended");
        page.counter(completions, rings.completions)?;
        let overflowing =
            family("ringway_ring_overflowing", "Completions that wait beyond a full queue");
        page.gauge(overflowing, rings.overflowing as f64)?;
    }
    process(sample, page)
}

fn configuration(sample: &Sample, page: &mut Page<'_>) -> fmt::Result {
    let is = |it: bool| f64::from(u8::from(it));
    page.gauge(
        family("ringway_config_generation", "Number of the configuration in force, from 1"),
        sample.generation as f64,
    )?;
    let changes = ["file", "api"].into_iter().zip(sample.happened.changes);
    page.counters(
        family("ringway_config_changes", "Configurations that were offered, by whom"),
        changes.flat_map(|(by, counts)| {
            let results = ["accepted", "refused"].into_iter().zip(counts);
            results.map(move |(result, count)| ([("by", by), ("result", result)], count))
        }),
    )?;
    page.gauge(family("ringway_draining", "1 while the process ends"), is(sample.draining))?;
    page.counters(
        family("ringway_health_transitions", "Changes of a target's health, by the new state"),
        STATES.into_iter().zip(sample.happened.transitions).map(|(to, n)| ([("to", to)], n)),
    )?;
    page.counter(
        family("ringway_targets_drained", "Targets that have ended their draining"),
        sample.happened.drained,
    )
}

fn spans(sample: &Sample, page: &mut Page<'_>) -> fmt::Result {
    let [exported, dropped] = sample.happened.spans;
    let by_workers = Totals::of_all(&sample.workers).spans_dropped;
    page.counter(family("ringway_spans_exported", "Spans that a collector took"), exported)?;
    page.counter(
        family("ringway_spans_dropped", "Spans for which there was no room, or that were refused"),
        dropped + by_workers,
    )
}

fn workers(sample: &Sample, page: &mut Page<'_>) -> fmt::Result {
    type Read = fn(&Totals) -> u64;
    let counters: [(&str, &str, Read); 14] = [
        ("ringway_worker_connections_handed_over", "Of these, those that others serve", |it| {
            it.handed_over
        }),
        ("ringway_worker_access_log_lines", "Lines of access logs", |it| it.access_log_lines),
        ("ringway_worker_access_log_dropped", "Lines dropped for want of room", |it| {
            it.access_log_dropped
        }),
        ("ringway_worker_connections", "Client connections accepted", |it| it.connections),
        ("ringway_worker_requests", "L7 requests read", |it| it.requests),
        ("ringway_worker_http2_connections", "Client connections that speak HTTP/2", |it| {
            it.http2_connections
        }),
        ("ringway_worker_http2_requests", "Requests over HTTP/2", |it| it.http2_requests),
        ("ringway_worker_http2_floods", "HTTP/2 connections ended for a flood of frames", |it| {
            it.http2_floods
        }),
        ("ringway_worker_target_connections", "Connections made to targets", |it| {
            it.target_connections
        }),
        ("ringway_worker_target_connections_reused", "Requests sent on a used connection", |it| {
            it.target_connections_reused
        }),
        ("ringway_worker_target_connection_errors", "Connections that could not be made", |it| {
            it.target_connection_errors
        }),
        ("ringway_worker_retries", "Requests sent again", |it| it.retries),
        ("ringway_worker_accept_errors", "Times that nothing could be accepted", |it| {
            it.accept_errors
        }),
        ("ringway_worker_panics", "Connections that ended in a panic", |it| it.panics),
    ];
    let series = |read: Read| {
        sample.workers.iter().enumerate().map(move |(at, it)| ([("worker", at)], read(it)))
    };
    for (name, help, read) in counters {
        page.counters(family(name, help), series(read))?;
    }
    page.gauges(
        family("ringway_worker_connections_open", "Client connections that it serves"),
        series(|it| it.open).map(|(labels, count)| (labels, count as f64)),
    )?;
    page.gauges(
        family("ringway_worker_idle_connections", "Unused connections to targets"),
        series(|it| it.idle_connections).map(|(labels, count)| (labels, count as f64)),
    )?;
    page.gauges(
        bytes("ringway_worker_kept_buffers", "Buffers that wait to be used"),
        series(|it| it.kept_buffer_bytes).map(|(labels, count)| (labels, count as f64)),
    )
}

fn process(sample: &Sample, page: &mut Page<'_>) -> fmt::Result {
    let process = &sample.process;
    if let Some(cpu) = process.cpu_seconds {
        page.counter(seconds("process_cpu", "Processor time"), cpu)?;
    }
    let count = |value: Option<u64>| value.map(|value| value as f64);
    let gauges = [
        (bytes("process_resident_memory", "Memory in use"), count(process.resident_bytes)),
        (bytes("process_virtual_memory", "Address space"), count(process.virtual_bytes)),
        (family("process_open_fds", "Open files"), count(process.open_files)),
        (family("process_max_fds", "Most open files"), count(process.open_files_max)),
        (family("process_threads", "Threads"), count(process.threads)),
        (seconds("process_start_time", "When it started, since 1970"), process.started),
    ];
    for (family, value) in gauges {
        if let Some(value) = value {
            page.gauge(family, value)?;
        }
    }
    Ok(())
}
