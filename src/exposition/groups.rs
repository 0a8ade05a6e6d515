//! Families of target groups and their targets.

use std::fmt;

use super::page::{Page, family, seconds};
use super::{Group, STATES, Sample, Target};
use crate::metrics::{CLASS_LABELS, CLASSES, GroupTotals};

pub(super) fn write(sample: &Sample, page: &mut Page<'_>) -> fmt::Result {
    let groups = sample.groups.as_slice();
    totals(groups, page)?;
    states(groups, page)?;
    let label = |group: &'_ Group| [("target_group", group.name.clone())];
    page.histograms(
        seconds("ringway_group_request_duration", "From the request head to the response's end"),
        groups.iter().map(|group| (label(group), &group.totals.duration)),
    )?;
    page.histograms(
        seconds("ringway_group_target_time", "Until the response head came; L4: to connect"),
        groups.iter().map(|group| (label(group), &group.totals.target_time)),
    )?;
    targets(groups, page)
}

/// A response by class, with one more label.
fn classes<'n>(counts: &[u64; CLASSES]) -> impl Iterator<Item = ((&'n str, &'n str), u64)> {
    CLASS_LABELS.into_iter().zip(*counts).map(|(class, count)| (("class", class), count))
}

fn totals(groups: &[Group], page: &mut Page<'_>) -> fmt::Result {
    type Read = fn(&GroupTotals) -> u64;
    let counters: [(&str, &str, Read); 7] = [
        (
            "ringway_group_requests",
            "Requests (L4: connections) that a target was chosen for",
            |it| it.requests,
        ),
        ("ringway_group_unavailable", "Requests for which there was no target", |it| {
            it.unavailable
        }),
        ("ringway_group_retries", "Further tries of requests", |it| it.retries),
        ("ringway_group_connections", "Connections made to targets", |it| it.connections),
        ("ringway_group_connect_errors", "Connections that could not be made", |it| {
            it.connect_errors
        }),
        ("ringway_group_tls_errors", "Connections over which there was no TLS session", |it| {
            it.tls_errors
        }),
        ("ringway_group_fail_open_requests", "Requests sent while too few were healthy", |it| {
            it.fail_open_requests
        }),
    ];
    for (name, help, read) in counters {
        let series =
            groups.iter().map(|it| ([("target_group", it.name.as_str())], read(&it.totals)));
        page.counters(family(name, help), series)?;
    }
    page.counters(
        family("ringway_group_responses", "Responses of targets, by class of their status"),
        groups.iter().flat_map(|group| {
            let name = ("target_group", group.name.as_str());
            classes(&group.totals.responses).map(move |(class, n)| ([name, class], n))
        }),
    )
}

fn states(groups: &[Group], page: &mut Page<'_>) -> fmt::Result {
    page.gauges(
        family("ringway_group_targets", "Targets, by health state"),
        groups.iter().flat_map(|group| {
            let name = ("target_group", group.name.as_str());
            let states = STATES.into_iter().zip(group.states);
            states.map(move |(state, n)| ([name, ("state", state)], n as f64))
        }),
    )?;
    type Read = fn(&Group) -> f64;
    let gauges: [(&str, &str, Read); 3] = [
        ("ringway_group_fail_open", "1 while too few are healthy, so that all are used", |it| {
            f64::from(u8::from(it.fail_open))
        }),
        ("ringway_group_targets_ejected", "Targets that traffic itself has taken out", |it| {
            it.ejected as f64
        }),
        ("ringway_group_targets_mitigated", "Targets that get less for failing more", |it| {
            it.mitigated as f64
        }),
    ];
    for (name, help, read) in gauges {
        let series = groups.iter().map(|it| ([("target_group", it.name.as_str())], read(it)));
        page.gauges(family(name, help), series)?;
    }
    Ok(())
}

type Labels<'s> = [(&'static str, &'s str); 2];

fn all(groups: &[Group]) -> impl Iterator<Item = (Labels<'_>, &Target)> {
    groups.iter().flat_map(|group| {
        group.targets.iter().map(|target| {
            ([("target_group", group.name.as_str()), ("target", target.address.as_str())], target)
        })
    })
}

fn targets(groups: &[Group], page: &mut Page<'_>) -> fmt::Result {
    type Count = fn(&Target) -> u64;
    let counters: [(&str, &str, Count); 5] = [
        ("ringway_target_requests", "Requests (L4: connections) sent to it", |it| it.requests),
        ("ringway_target_failures", "Its responses 5xx, and connections not made", |it| {
            it.failures
        }),
        ("ringway_target_connections", "Connections to it", |it| it.totals.connections),
        ("ringway_target_connect_errors", "Connections to it that could not be made", |it| {
            it.totals.connect_errors
        }),
        ("ringway_target_tls_errors", "Connections to it over which there was no session", |it| {
            it.totals.tls_errors
        }),
    ];
    for (name, help, read) in counters {
        page.counters(family(name, help), all(groups).map(|(labels, it)| (labels, read(it))))?;
    }
    page.counters(
        family("ringway_target_responses", "Its responses, by class of their status"),
        all(groups).flat_map(|([group, target], it)| {
            classes(&it.totals.responses).map(move |(class, n)| ([group, target, class], n))
        }),
    )?;
    type Measure = fn(&Target) -> f64;
    let gauges: [(&str, &str, Measure); 4] = [
        ("ringway_target_healthy", "1 if it is healthy", |it| f64::from(u8::from(it.is_healthy))),
        ("ringway_target_weight", "Its weight", |it| f64::from(it.weight)),
        ("ringway_target_in_flight", "Requests (L4: connections) in flight", |it| {
            it.in_flight as f64
        }),
        ("ringway_target_idle_connections", "Unused connections to it", |it| {
            it.totals.idle_connections as f64
        }),
    ];
    for (name, help, read) in gauges {
        page.gauges(family(name, help), all(groups).map(|(labels, it)| (labels, read(it))))?;
    }
    Ok(())
}
