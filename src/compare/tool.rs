//! Other people's load generators, `wrk` and `oha`, for whoever trusts them more.
//!
//! Both keep all connections busy. `oha` can also keep to a rate; `wrk` cannot, so with it latency
//! is that of a closed loop, and of a balancer at its limit.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::Tool;
use crate::net::child;

use super::Error;
use super::process;
use super::rounds::{QUANTILES, Setting, Slice};
use super::site::Purpose;
use super::stop::Stop;
use super::way::Way;

/// How long after its time a tool may still say what it saw.
const LATE_MAX: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(10);
/// wrk counts in whole seconds.
const WRK_MIN: Duration = Duration::from_secs(1);
/// Begins the line that `SCRIPT` writes.
const MARK: &str = "ringway-compare ";

/// Has wrk tell what it otherwise rounds: one line of JSON.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
    local e = summary.errors
    local failures = e.connect + e.read + e.write + e.status + e.timeout
    io.write(string.format('ringway-compare {"requests":%d,"us":%d,"failures":%d,"latency":[',
        summary.requests, summary.duration, failures))
    for q in string.gmatch(QUANTILES, "[^,]+") do
        local value = tonumber(q) >= 100 and latency.max or latency:percentile(tonumber(q))
        io.write(string.format('[%s,%d],', q, value))
    end
    io.write('[-1,0]]}\n')
end
"#;

/// Loads a way by the tool of the setting; only its first address, where there is no balancer.
///
/// # Errors
/// If the tool is not there or ends in any other way than it should.
pub(super) fn run(
    way: &Way,
    length: Duration,
    rate: Option<f64>,
    setting: &Setting<'_>,
) -> Result<Slice, Error> {
    let dir = tempfile::tempdir().map_err(|source| Error::new("no directory", source))?;
    let program = match setting.tool {
        Tool::Wrk => "wrk",
        Tool::Oha | Tool::BuiltIn => "oha",
    };
    let failed = |source| Error::new(format!("{program} fails (is it installed?)"), source);
    let address = way.addresses(Purpose::Load).first().copied();
    let address = address.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let url = format!("http://{address}{}", setting.path);
    let length = if program == "wrk" { length.max(WRK_MIN) } else { length };
    let mut command = Command::new(program);
    match setting.tool {
        Tool::Wrk => wrk(&mut command, length, setting, dir.path()).map_err(failed)?,
        Tool::Oha | Tool::BuiltIn => oha(&mut command, length, rate, setting),
    }
    let out = dir.path().join("out");
    command.arg(url).stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(File::create(&out).map_err(failed)?);
    child::confine(&mut command, setting.cores.load.map(|core| core.id));
    let used = || way.process().map(process::processor_time);
    let before = used();
    let child = command.spawn().map_err(failed)?;
    wait(child, length + LATE_MAX, setting.stop).map_err(failed)?;
    let processor = used().zip(before).map(|(after, before)| after.saturating_sub(before));
    let said = fs::read_to_string(&out).map_err(failed)?;
    let slice = match setting.tool {
        Tool::Wrk => read_wrk(&said, processor),
        Tool::Oha | Tool::BuiltIn => read_oha(&said, processor),
    };
    // What it says when it is ended by us does not matter.
    slice.ok_or_else(|| failed(io::Error::other(format!("it says {said:?}"))))
}

fn wrk(
    command: &mut Command,
    length: Duration,
    setting: &Setting<'_>,
    dir: &Path,
) -> io::Result<()> {
    let quantiles: Vec<String> = QUANTILES.iter().map(|q| (q * 100.0).to_string()).collect();
    let script = dir.join("done.lua");
    fs::write(&script, format!("QUANTILES = \"{}\"\n{SCRIPT}", quantiles.join(",")))?;
    let seconds = length.as_secs_f64().round();
    command.args(["-t1", &format!("-c{}", setting.connections), &format!("-d{seconds}s"), "-s"]);
    command.arg(script);
    Ok(())
}

fn oha(command: &mut Command, length: Duration, rate: Option<f64>, setting: &Setting<'_>) {
    command.args(["--no-tui", "--output-format", "json", "-w"]);
    command.args(["-c", &setting.connections.to_string(), "-z"]);
    command.arg(format!("{}ms", length.as_millis()));
    if let Some(rate) = rate {
        command.args(["--latency-correction", "-q", &(rate.round() as u64).to_string()]);
    }
}

/// Waits for the end of a tool, or ends it.
fn wait(mut child: Child, longest: Duration, stop: &Stop) -> io::Result<()> {
    let until = Instant::now() + longest;
    loop {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        if stop.is_asked() || Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        stop.wait(ASK_EVERY);
    }
}

fn read_wrk(said: &str, processor: Option<Duration>) -> Option<Slice> {
    let line = said.lines().find_map(|line| line.strip_prefix(MARK))?;
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let latency = value["latency"].as_array()?.iter().filter_map(|pair| {
        let (percent, microseconds) = (pair[0].as_f64()?, pair[1].as_f64()?);
        let quantile = QUANTILES.iter().find(|q| (*q * 100.0 - percent).abs() < 1e-6)?;
        Some((*quantile, microseconds))
    });
    Some(Slice {
        requests: value["requests"].as_u64()?,
        failures: value["failures"].as_u64()?,
        window: Duration::from_micros(value["us"].as_u64()?),
        processor,
        latency: latency.collect(),
        series: Vec::new(),
        histogram: None,
    })
}

fn read_oha(said: &str, processor: Option<Duration>) -> Option<Slice> {
    let value: serde_json::Value = serde_json::from_str(said).ok()?;
    let summary = &value["summary"];
    let counted = |what: &str, good: fn(&str) -> bool| -> u64 {
        let counts = value[what].as_object().into_iter().flatten();
        counts.filter(|(name, _)| good(name)).filter_map(|(_, count)| count.as_u64()).sum()
    };
    let is_good = |status: &str| status.parse::<u16>().is_ok_and(|status| status < 400);
    let requests = counted("statusCodeDistribution", is_good);
    let other = counted("statusCodeDistribution", |_| true) - requests;
    // Requests that were under way at the end are among the errors, and are none.
    let errors = counted("errorDistribution", |error| !error.contains("deadline"));
    let mut latency =
        vec![(0.0, summary["fastest"].as_f64()? * 1e6), (1.0, summary["slowest"].as_f64()? * 1e6)];
    for (name, seconds) in value["latencyPercentiles"].as_object()? {
        let percent: f64 = name.trim_start_matches('p').parse().ok()?;
        let quantile = QUANTILES.iter().find(|q| (*q * 100.0 - percent).abs() < 1e-6);
        latency.extend(quantile.copied().zip(seconds.as_f64().map(|seconds| seconds * 1e6)));
    }
    let window = Duration::try_from_secs_f64(summary["total"].as_f64()?).ok()?;
    let failures = errors + other;
    Some(Slice { requests, failures, window, processor, latency, series: vec![], histogram: None })
}
