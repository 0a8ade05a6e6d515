//! What is written, from samples made by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::metrics::{
    Counts, GroupCounters, ListenerCounters, OWN_LABELS, RuleCounters, TargetCounters, own_code,
};

/// Counts once what every family is about.
fn listener(name: &str, is_l4: bool) -> Listener {
    let counters = ListenerCounters::default();
    counters.accepted.add(9);
    counters.closed.add(4);
    counters.requests.add(8);
    counters.targeted.add(6);
    for (class, count) in [(1, 5), (2, 1), (3, 1), (4, 1)] {
        counters.responses[class].add(count);
    }
    counters.own[own_code(301)].add(1);
    counters.own[own_code(502)].add(1);
    counters.actions[0].add(6);
    counters.actions[1].add(1);
    counters.received_bytes.add(1000);
    counters.sent_bytes.add(2000);
    let rule = RuleCounters::default();
    rule.responses[2].add(1);
    let rules =
        vec![("10".into(), RuleTotals::of([&rule])), ("default".into(), RuleTotals::default())];
    let totals = ListenerTotals::of([&counters]);
    let group = is_l4.then_some(0);
    Listener {
        id: (u32::from(is_l4), 1),
        name: name.into(),
        resource: format!("app/{name}/1"),
        is_l4,
        totals,
        rules,
        group,
        certificates: match is_l4 {
            true => Vec::new(),
            false => ["a.pem", "b.pem", "a.pem"].map(|it| (it.into(), 2_208_988_800)).to_vec(),
        },
    }
}

fn group() -> Group {
    let counters = GroupCounters::default();
    counters.requests.add(6);
    counters.responses[1].add(5);
    counters.connect_errors.add(1);
    counters.duration.record(Duration::from_millis(30));
    counters.target_time.record(Duration::from_millis(10));
    counters.target_time.record(Duration::from_millis(30));
    let target = TargetCounters::default();
    target.responses[1].add(5);
    Group {
        id: (0, 1),
        name: "home".into(),
        resource: "targetgroup/home/2".into(),
        totals: GroupTotals::of([&counters]),
        states: [0, 2, 1, 0, 0],
        targets: vec![Target {
            address: "[::1]:80".into(),
            is_healthy: true,
            weight: 3,
            requests: 6,
            totals: TargetTotals::of([&target]),
            ..Target::default()
        }],
        ..Group::default()
    }
}

/// With everything that there can be.
fn sample() -> Sample {
    Sample {
        version: "1.2.3",
        driver: "io_uring",
        generation: 4,
        error_kinds: &["client_closed"],
        workers: vec![Totals { requests: 3, ..Totals::default() }, Totals::default()],
        rings: Some(Rings { submissions: 7, completions: 5, overflowing: 0 }),
        process: Process {
            cpu_seconds: Some(1.5),
            resident_bytes: Some(1),
            virtual_bytes: Some(2),
            open_files: Some(3),
            open_files_max: Some(4),
            threads: Some(5),
            started: Some(6.5),
        },
        listeners: vec![listener("web", false), listener("mail", true)],
        groups: vec![group()],
        ..Sample::default()
    }
}

fn text(sample: Sample, minute: Option<Minute>) -> Result<String, fmt::Error> {
    let bytes = encode(Form::Text, sample, minute)?;
    Ok(String::from_utf8(bytes).expect("text"))
}

#[test]
fn protobuf_is_for_those_who_like_it_best() {
    let prometheus = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                      encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,\
                      application/openmetrics-text;version=0.0.1;q=0.75,text/plain;\
                      version=0.0.4;q=0.5,*/*;q=0.1";
    let rows = [
        (prometheus, Form::Protobuf),
        ("", Form::Text),
        ("*/*", Form::Text),
        ("application/openmetrics-text;version=1.0.0,*/*;q=0.1", Form::Text),
        ("application/vnd.google.protobuf", Form::Text),
        ("application/vnd.google.protobuf;encoding=delimited;q=0", Form::Text),
        ("application/vnd.google.protobuf; encoding=delimited; q=x", Form::Text),
        (
            "application/vnd.google.protobuf;encoding=delimited;q=0.5,application/openmetrics-text",
            Form::Text,
        ),
    ];
    for (accept, form) in rows {
        assert_eq!(Form::of(accept), form, "{accept}");
    }
}

#[test]
fn protobuf_has_native_buckets_beside_the_classic_ones() {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposed { sample: sample(), minute: None }));
    let families = prometheus_protobuf::encode(&registry).expect("messages");
    let name = "ringway_group_target_time_seconds";
    let family = families.iter().find(|family| family.name == name).expect(name);
    let histogram = family.metric[0].histogram.as_ref().expect("a histogram");
    assert_eq!((histogram.sample_count, histogram.sample_sum), (2, 0.04));
    assert_eq!((histogram.schema, histogram.zero_count), (4, 0));
    // 10 ms end in the bucket up to 2^(-106/16) s, 30 ms in the one up to 2^(-80/16) s.
    let spans: Vec<_> =
        histogram.positive_span.iter().map(|span| (span.offset, span.length)).collect();
    assert_eq!(
        (spans, histogram.positive_delta.as_slice()),
        (vec![(-106, 1), (25, 1)], &[1, 0][..])
    );
    assert!(histogram.bucket.len() > 10, "classic buckets for those who want them");
    let bytes = encode(Form::Protobuf, sample(), None).expect("bytes");
    assert!(bytes.len() > 1000);
}

fn whole() -> String {
    let minute = Minute { before: Arc::new(Sample::default()), after: Arc::new(sample()) };
    text(sample(), Some(minute)).expect("text")
}

/// Families by name, with their type.
fn families(text: &str) -> BTreeMap<String, String> {
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let all: Vec<_> = typed.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
    let families: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(families.len(), all.len(), "a family comes twice");
    families
}

#[track_caller]
fn expect(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|it| it == *line), "no `{line}` in\n{text}");
    }
}

#[test]
fn every_count_is_under_its_labels() {
    let text = whole();
    expect(
        &text,
        &[
            "ringway_build_info{version=\"1.2.3\",driver=\"io_uring\"} 1",
            "ringway_config_generation 4.0",
            "ringway_worker_requests_total{worker=\"0\"} 3",
            "ringway_listener_connections_active{listener=\"web\"} 5.0",
            "ringway_listener_responses_total{listener=\"web\",class=\"2xx\"} 5",
            "ringway_listener_own_responses_total{listener=\"web\",code=\"502\"} 1",
            "ringway_listener_own_responses_total{listener=\"web\",code=\"3xx\"} 1",
            "ringway_listener_received_bytes_total{listener=\"mail\"} 1000",
            "ringway_certificate_not_after_timestamp_seconds\
             {listener=\"web\",certificate=\"a.pem\"} 2208988800.0",
            "ringway_rule_requests_total{listener=\"web\",rule=\"10\"} 1",
            "ringway_rule_responses_total{listener=\"web\",rule=\"10\",class=\"3xx\"} 1",
            "ringway_group_targets{target_group=\"home\",state=\"healthy\"} 2.0",
            "ringway_group_target_time_seconds_count{target_group=\"home\"} 2",
            "ringway_group_target_time_seconds_bucket{le=\"0.015625\",target_group=\"home\"} 1",
            "ringway_target_weight{target_group=\"home\",target=\"[::1]:80\"} 3.0",
            "process_cpu_seconds_total 1.5",
            "# EOF",
        ],
    );
    assert!(!text.contains("ringway_rule_requests_total{listener=\"mail\""), "L4 has no rules");
    let twice = "{listener=\"web\",certificate=\"a.pem\"}";
    assert_eq!(text.matches(twice).count(), 1, "a file that is named twice is one series");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn minute_is_told_in_the_names_of_cloudwatch() {
    let text = whole();
    expect(
        &text,
        &[
            "aws_applicationelb_request_count_sum{load_balancer=\"app/web/1\"} 6.0",
            "aws_applicationelb_request_count_sum{target_group=\"targetgroup/home/2\"} 6.0",
            "aws_applicationelb_httpcode_elb_3_xx_count_sum{load_balancer=\"app/web/1\"} 1.0",
            "aws_applicationelb_httpcode_elb_502_count_sum{load_balancer=\"app/web/1\"} 1.0",
            "aws_applicationelb_httpcode_target_2_xx_count_sum{load_balancer=\"app/web/1\"} 5.0",
            "aws_applicationelb_httpcode_target_3_xx_count_sum{load_balancer=\"app/web/1\"} 0.0",
            "aws_applicationelb_httpcode_target_2_xx_count_sum\
             {target_group=\"targetgroup/home/2\"} 5.0",
            "aws_applicationelb_processed_bytes_sum{load_balancer=\"app/web/1\"} 3000.0",
            "aws_applicationelb_http_redirect_count_sum{load_balancer=\"app/web/1\"} 1.0",
            "aws_applicationelb_target_response_time_average\
             {target_group=\"targetgroup/home/2\"} 0.02",
            "aws_applicationelb_healthy_host_count_average\
             {target_group=\"targetgroup/home/2\"} 2.0",
            "aws_applicationelb_request_count_per_target_sum\
             {target_group=\"targetgroup/home/2\"} 3.0",
            "aws_elb_request_count_sum{load_balancer_name=\"mail\"} 6.0",
            "aws_elb_backend_connection_errors_sum{load_balancer_name=\"mail\"} 1.0",
            "aws_elb_latency_average{load_balancer_name=\"mail\"} 0.02",
        ],
    );
}

#[test]
fn second_minute_tells_what_came_on_top() {
    let quiet = Minute { before: Arc::new(sample()), after: Arc::new(sample()) };
    let text = text(sample(), Some(quiet)).expect("text");
    expect(
        &text,
        &[
            "aws_applicationelb_request_count_sum{load_balancer=\"app/web/1\"} 0.0",
            "aws_applicationelb_active_connection_count_sum{load_balancer=\"app/web/1\"} 5.0",
        ],
    );
    assert!(!text.contains("target_response_time_average{"), "no request, no time");
}

#[test]
fn group_that_took_the_place_of_another_begins_anew() {
    let mut before = sample();
    before.groups[0].id = (0, 9);
    let minute = Minute { before: Arc::new(before), after: Arc::new(sample()) };
    let text = text(sample(), Some(minute)).expect("text");
    expect(
        &text,
        &["aws_applicationelb_request_count_sum{target_group=\"targetgroup/home/2\"} 6.0"],
    );
}

#[test]
fn responses_of_our_own_are_in_one_class_each() {
    for label in OWN_LABELS {
        assert!(matches!(label.as_bytes()[0], b'2'..=b'5'), "{label}");
    }
    let counters = ListenerCounters::default();
    let mut sum = ListenerTotals::default();
    counters.add_to(&mut sum);
    assert_eq!(sum, ListenerTotals::default());
}

fn file(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn documentation_lists_every_family_with_its_type() {
    let docs = file("docs/metrics.md");
    let rows = docs.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let kind = rest.split(" | ").next()?;
        let is_kind = matches!(kind, "counter" | "gauge" | "histogram" | "info");
        is_kind.then(|| (name.to_owned(), kind.to_owned()))
    });
    let documented: BTreeMap<_, _> = rows.collect();
    assert_eq!(documented, families(&whole()), "docs/metrics.md on the left");
}

/// Names of ours in `text`, without what is appended to the name of a family.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| {
        ["ringway_", "process_", "aws_"].iter().any(|prefix| word.starts_with(prefix))
    });
    let kinds = families(&whole());
    let family = |word: &str| {
        let suffixes = ["_total", "_bucket", "_sum", "_count", "_info"];
        let stripped = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix));
        match stripped {
            Some(stripped) if kinds.contains_key(stripped) => stripped.to_owned(),
            _ => word.to_owned(),
        }
    };
    ours.map(family).collect()
}

#[test]
fn dashboard_and_alerts_name_only_what_exists() {
    let known = families(&whole());
    for path in ["conf/grafana/ringway.json", "conf/prometheus/ringway.rules.yml"] {
        let named = named(&file(path));
        assert!(named.len() > 8, "{path} names {named:?}");
        let unknown: Vec<_> = named.iter().filter(|name| !known.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "{path} names {unknown:?}");
    }
}
