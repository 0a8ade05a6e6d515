//! The last whole minute in the names of CloudWatch, as its Prometheus exporters write them:
//! `aws_applicationelb_` for L7 listeners and target groups, `aws_elb_` for L4 listeners.
//!
//! As there, these are values of a period and no counters, and a family has series by load balancer
//! and by target group beside each other: never sum over both. A listener stands for a load
//! balancer. The statistic is at the end of the name.

use std::collections::HashMap;
use std::fmt;

use super::page::{Family, Page, family};
use super::{Group, Listener, Minute};
use crate::metrics::{Distribution, GroupTotals, ListenerTotals, OWN_LABELS};

/// Places of states in [`Group::states`].
const HEALTHY: usize = 1;
const UNHEALTHY: usize = 2;

type Labels = Vec<(&'static str, String)>;
type Series = Vec<(Labels, f64)>;

/// What a minute has brought to one listener or group.
struct Change<'s, T, C> {
    of: &'s T,
    labels: Labels,
    totals: C,
}

type ListenerChange<'s> = Change<'s, Listener, ListenerTotals>;
type GroupChange<'s> = Change<'s, Group, GroupTotals>;

pub(super) fn write(minute: &Minute, page: &mut Page<'_>) -> fmt::Result {
    let Minute { before, after } = minute;
    let known: HashMap<_, _> = before.listeners.iter().map(|it| (it.id, &it.totals)).collect();
    let listeners: Vec<ListenerChange<'_>> = after
        .listeners
        .iter()
        .map(|of| Change {
            of,
            labels: labels_of(of),
            totals: since(known.get(&of.id), &of.totals),
        })
        .collect();
    let known: HashMap<_, _> = before.groups.iter().map(|it| (it.id, &it.totals)).collect();
    let groups: Vec<GroupChange<'_>> = after
        .groups
        .iter()
        .map(|of| {
            let labels = vec![("target_group", of.resource.clone())];
            let totals = match known.get(&of.id) {
                Some(before) => of.totals.since(before),
                None => of.totals.clone(),
            };
            Change { of, labels, totals }
        })
        .collect();
    let (classic, application): (Vec<_>, Vec<_>) =
        listeners.into_iter().partition(|change| change.of.is_l4);
    let mut page = Minutes(page);
    page.balancers(&application)?;
    page.both(&application, &groups)?;
    page.groups(&groups)?;
    page.classic(&classic, &groups)
}

fn labels_of(listener: &Listener) -> Labels {
    match listener.is_l4 {
        true => vec![("load_balancer_name", listener.name.clone())],
        false => vec![("load_balancer", listener.resource.clone())],
    }
}

fn since(before: Option<&&ListenerTotals>, totals: &ListenerTotals) -> ListenerTotals {
    before.map_or_else(|| totals.clone(), |before| totals.since(before))
}

/// Responses of our own whose code begins with `digit`.
fn own(totals: &ListenerTotals, digit: char) -> u64 {
    let codes = OWN_LABELS.iter().zip(totals.own).filter(|(code, _)| code.starts_with(digit));
    codes.map(|(_, count)| count).sum()
}

/// Responses of our own with this code.
fn own_code(totals: &ListenerTotals, code: &str) -> u64 {
    OWN_LABELS.iter().zip(totals.own).filter(|(own, _)| **own == code).map(|(_, n)| n).sum()
}

/// Responses of targets of this class, 2 to 5.
fn of_targets(totals: &ListenerTotals, class: usize) -> u64 {
    let digit = char::from_digit(class as u32, 10).unwrap_or_default();
    totals.responses[class - 1].saturating_sub(own(totals, digit))
}

fn active(listener: &Listener) -> u64 {
    listener.totals.accepted.saturating_sub(listener.totals.closed)
}

fn each<T, C>(changes: &[Change<'_, T, C>], read: impl Fn(&Change<'_, T, C>) -> u64) -> Series {
    some(changes, |change| Some(read(change) as f64))
}

fn some<T, C>(
    changes: &[Change<'_, T, C>],
    read: impl Fn(&Change<'_, T, C>) -> Option<f64>,
) -> Series {
    let series = changes.iter().filter_map(|change| Some((change.labels.clone(), read(change)?)));
    series.collect()
}

fn mean(times: &Distribution) -> Option<f64> {
    let count = times.count();
    (count > 0).then(|| times.seconds() / count as f64)
}

struct Minutes<'p, 'e>(&'p mut Page<'e>);

impl Minutes<'_, '_> {
    fn put(&mut self, what: Family, series: Series) -> fmt::Result {
        match series.is_empty() {
            true => Ok(()),
            false => self.0.gauges(what, series),
        }
    }

    /// What CloudWatch has by load balancer only.
    fn balancers(&mut self, all: &[ListenerChange<'_>]) -> fmt::Result {
        type Read = fn(&ListenerChange<'_>) -> u64;
        let families: [(&str, &str, Read); 15] = [
            ("aws_applicationelb_active_connection_count_sum", "Client connections open", |it| {
                active(it.of)
            }),
            ("aws_applicationelb_new_connection_count_sum", "New client connections", |it| {
                it.totals.accepted
            }),
            ("aws_applicationelb_processed_bytes_sum", "Bytes both ways", |it| {
                it.totals.received_bytes + it.totals.sent_bytes
            }),
            ("aws_applicationelb_httpcode_elb_3_xx_count_sum", "Own 3xx", |it| {
                own(&it.totals, '3')
            }),
            ("aws_applicationelb_httpcode_elb_4_xx_count_sum", "Own 4xx", |it| {
                own(&it.totals, '4')
            }),
            ("aws_applicationelb_httpcode_elb_5_xx_count_sum", "Own 5xx", |it| {
                own(&it.totals, '5')
            }),
            ("aws_applicationelb_httpcode_elb_500_count_sum", "Own 500", |it| {
                own_code(&it.totals, "500")
            }),
            ("aws_applicationelb_httpcode_elb_502_count_sum", "Own 502", |it| {
                own_code(&it.totals, "502")
            }),
            ("aws_applicationelb_httpcode_elb_503_count_sum", "Own 503", |it| {
                own_code(&it.totals, "503")
            }),
            ("aws_applicationelb_httpcode_elb_504_count_sum", "Own 504", |it| {
                own_code(&it.totals, "504")
            }),
            ("aws_applicationelb_http_redirect_count_sum", "Redirects", |it| it.totals.actions[1]),
            ("aws_applicationelb_http_fixed_response_count_sum", "Fixed responses", |it| {
                it.totals.actions[2]
            }),
            (
                "aws_applicationelb_http_redirect_url_limit_exceeded_count_sum",
                "Locations too long",
                |it| own_code(&it.totals, "507"),
            ),
            ("aws_applicationelb_grpc_request_count_sum", "gRPC calls sent to targets", |it| {
                it.totals.grpc
            }),
            (
                "aws_applicationelb_desync_mitigation_mode_non_compliant_request_count_sum",
                "Refused requests",
                |it| it.totals.noncompliant,
            ),
        ];
        for (name, help, read) in families {
            self.put(family(name, help), each(all, read))?;
        }
        Ok(())
    }

    /// What it has by load balancer and by target group.
    fn both(&mut self, all: &[ListenerChange<'_>], groups: &[GroupChange<'_>]) -> fmt::Result {
        let mut requests = each(all, |it| it.totals.targeted);
        requests.extend(each(groups, |it| it.totals.requests));
        self.put(
            family("aws_applicationelb_request_count_sum", "Requests sent to targets"),
            requests,
        )?;
        let families = [
            (2, "aws_applicationelb_httpcode_target_2_xx_count_sum", "2xx of targets"),
            (3, "aws_applicationelb_httpcode_target_3_xx_count_sum", "3xx of targets"),
            (4, "aws_applicationelb_httpcode_target_4_xx_count_sum", "4xx of targets"),
            (5, "aws_applicationelb_httpcode_target_5_xx_count_sum", "5xx of targets"),
        ];
        for (class, name, help) in families {
            let mut series = each(all, |it| of_targets(&it.totals, class));
            series.extend(each(groups, |it| it.totals.responses[class - 1]));
            self.put(family(name, help), series)?;
        }
        Ok(())
    }

    /// What it has by target group only.
    fn groups(&mut self, all: &[GroupChange<'_>]) -> fmt::Result {
        type Read = fn(&GroupChange<'_>) -> Option<f64>;
        let families: [(&str, &str, Read); 11] = [
            ("aws_applicationelb_healthy_host_count_average", "Healthy targets", |it| {
                Some(it.of.states[HEALTHY] as f64)
            }),
            ("aws_applicationelb_un_healthy_host_count_average", "Unhealthy targets", |it| {
                Some(it.of.states[UNHEALTHY] as f64)
            }),
            (
                "aws_applicationelb_target_response_time_average",
                "Mean time to the response head, seconds",
                |it| mean(&it.totals.target_time),
            ),
            (
                "aws_applicationelb_target_response_time_maximum",
                "Longest, to within 4 %, seconds",
                |it| it.totals.target_time.maximum(),
            ),
            (
                "aws_applicationelb_request_count_per_target_sum",
                "Requests by healthy target",
                |it| {
                    let registered = it.of.states.iter().sum::<u64>();
                    let among =
                        if it.of.states[HEALTHY] > 0 { it.of.states[HEALTHY] } else { registered };
                    (among > 0).then(|| it.totals.requests as f64 / among as f64)
                },
            ),
            (
                "aws_applicationelb_target_connection_error_count_sum",
                "Connections not made",
                |it| Some(it.totals.connect_errors as f64),
            ),
            (
                "aws_applicationelb_target_tlsnegotiation_error_count_sum",
                "Connections over which there was no TLS session",
                |it| Some(it.totals.tls_errors as f64),
            ),
            (
                "aws_applicationelb_unhealthy_routing_request_count_sum",
                "Requests while failing open",
                |it| Some(it.totals.fail_open_requests as f64),
            ),
            ("aws_applicationelb_mitigated_host_count_average", "Targets that get less", |it| {
                Some(it.of.mitigated as f64)
            }),
            ("aws_applicationelb_healthy_state_routing_average", "1 unless failing open", |it| {
                Some(f64::from(u8::from(!it.of.fail_open)))
            }),
            ("aws_applicationelb_unhealthy_state_routing_average", "1 while failing open", |it| {
                Some(f64::from(u8::from(it.of.fail_open)))
            }),
        ];
        for (name, help, read) in families {
            self.put(family(name, help), some(all, read))?;
        }
        Ok(())
    }

    /// L4 listeners, as Classic ELBs.
    fn classic(&mut self, all: &[ListenerChange<'_>], groups: &[GroupChange<'_>]) -> fmt::Result {
        let group = |it: &ListenerChange<'_>| groups.get(it.of.group?);
        let states =
            |it: &ListenerChange<'_>, state: usize| Some(group(it)?.of.states[state] as f64);
        let bytes = |it: &ListenerChange<'_>| it.totals.received_bytes + it.totals.sent_bytes;
        let families = [
            ("aws_elb_request_count_sum", "Connections", each(all, |it| it.totals.targeted)),
            (
                "aws_elb_latency_average",
                "Mean time to connect to a target, seconds",
                some(all, |it| mean(&group(it)?.totals.target_time)),
            ),
            (
                "aws_elb_backend_connection_errors_sum",
                "Connections to targets not made",
                some(all, |it| Some(group(it)?.totals.connect_errors as f64)),
            ),
            (
                "aws_elb_healthy_host_count_average",
                "Healthy targets",
                some(all, |it| states(it, HEALTHY)),
            ),
            (
                "aws_elb_un_healthy_host_count_average",
                "Unhealthy targets",
                some(all, |it| states(it, UNHEALTHY)),
            ),
            ("aws_elb_estimated_processed_bytes_sum", "Bytes both ways", each(all, bytes)),
            (
                "aws_elb_estimated_alb_new_connection_count_sum",
                "New client connections",
                each(all, |it| it.totals.accepted),
            ),
            (
                "aws_elb_estimated_alb_active_connection_count_sum",
                "Client connections open",
                each(all, |it| active(it.of)),
            ),
        ];
        families.into_iter().try_for_each(|(name, help, it)| self.put(family(name, help), it))
    }
}
