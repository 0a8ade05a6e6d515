//! Families of listeners and their rules.

use std::fmt;

use super::page::{Page, bytes, family, seconds};
use super::{Listener, Sample};
use crate::metrics::{CLASS_LABELS, ListenerTotals, OWN_LABELS};

/// Actions in the order of [`ListenerTotals::actions`].
const ACTIONS: [&str; 3] = ["forward", "redirect", "fixed-response"];

pub(super) fn write(sample: &Sample, page: &mut Page<'_>) -> fmt::Result {
    let listeners = sample.listeners.as_slice();
    totals(listeners, page)?;
    parts(listeners, page)?;
    certificates(listeners, page)?;
    rules(listeners, page)
}

fn totals(listeners: &[Listener], page: &mut Page<'_>) -> fmt::Result {
    type Read = fn(&ListenerTotals) -> u64;
    let series = |read: Read| {
        listeners.iter().map(move |it| ([("listener", it.name.as_str())], read(&it.totals)))
    };
    let counters: [(&str, &str, Read); 5] = [
        ("ringway_listener_connections_accepted", "Client connections accepted", |it| it.accepted),
        ("ringway_listener_connections_closed", "Client connections that ended", |it| it.closed),
        ("ringway_listener_requests", "L7 requests that began", |it| it.requests),
        ("ringway_listener_grpc_requests", "Of these, calls of gRPC that had a target", |it| {
            it.grpc
        }),
        (
            "ringway_listener_noncompliant_requests",
            "Requests refused for breaking a rule of the standard",
            |it| it.noncompliant,
        ),
    ];
    for (name, help, read) in counters {
        page.counters(family(name, help), series(read))?;
    }
    page.gauges(
        family("ringway_listener_connections_active", "Client connections open now"),
        series(|it| it.accepted.saturating_sub(it.closed)).map(|(l, count)| (l, count as f64)),
    )?;
    page.counters(
        bytes("ringway_listener_received", "Bytes from clients, heads included"),
        series(|it| it.received_bytes),
    )?;
    page.counters(
        bytes("ringway_listener_sent", "Bytes to clients, heads included"),
        series(|it| it.sent_bytes),
    )
}

/// What has one more label.
fn parts(listeners: &[Listener], page: &mut Page<'_>) -> fmt::Result {
    let l7 = || listeners.iter().filter(|it| !it.is_l4).map(|it| (it.name.as_str(), &it.totals));
    page.counters(
        family("ringway_listener_responses", "Responses to clients, by class of their status"),
        l7().flat_map(|(name, totals)| {
            let classes = CLASS_LABELS.into_iter().zip(totals.responses);
            classes.map(move |(class, n)| ([("listener", name), ("class", class)], n))
        }),
    )?;
    page.counters(
        family("ringway_listener_own_responses", "Responses that no target made, by code"),
        l7().flat_map(|(name, totals)| {
            let codes = OWN_LABELS.into_iter().zip(totals.own);
            codes.map(move |(code, n)| ([("listener", name), ("code", code)], n))
        }),
    )?;
    page.counters(
        family("ringway_listener_actions", "What was decided"),
        l7().flat_map(|(name, totals)| {
            let actions = ACTIONS.into_iter().zip(totals.actions);
            actions.map(move |(action, n)| ([("listener", name), ("action", action)], n))
        }),
    )
}

fn certificates(listeners: &[Listener], page: &mut Page<'_>) -> fmt::Result {
    let each = listeners.iter().flat_map(|listener| {
        let files = listener.certificates.iter().enumerate();
        // A file that is named twice is one series.
        let once = files.filter(|(at, (path, _))| {
            listener.certificates.iter().take(*at).all(|(earlier, _)| earlier != path)
        });
        once.map(|(_, (path, not_after))| {
            let labels = [("listener", listener.name.as_str()), ("certificate", path.as_str())];
            (labels, *not_after as f64)
        })
    });
    page.gauges(
        seconds(
            "ringway_certificate_not_after_timestamp",
            "When the certificate in use expires, since 1970",
        ),
        each,
    )
}

fn rules(listeners: &[Listener], page: &mut Page<'_>) -> fmt::Result {
    let rules = || {
        let l7 = listeners.iter().filter(|listener| !listener.is_l4);
        l7.flat_map(|listener| {
            listener.rules.iter().map(|(rule, totals)| {
                ([("listener", listener.name.as_str()), ("rule", rule.as_str())], totals)
            })
        })
    };
    page.counters(
        family("ringway_rule_requests", "Requests that a rule decided"),
        rules().map(|(labels, totals)| (labels, totals.responses.iter().sum())),
    )?;
    page.counters(
        family("ringway_rule_responses", "Responses to them, by class of their status"),
        rules().flat_map(|([listener, rule], totals)| {
            let classes = CLASS_LABELS.into_iter().zip(totals.responses);
            classes.map(move |(class, n)| ([listener, rule, ("class", class)], n))
        }),
    )
}
