//! What each command asks of the API, and what it prints.

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};

use super::Trouble;
use super::connect::{Client, Question, segment};
use super::look::Output;
use super::{events, named, rule, status, targets, watch};
use crate::cli::{
    ClientCommand, ConfigCommand, KeysCommand, Layer, RulesCommand, Status as StatusOptions,
    TargetsCommand,
};
use crate::config;
use crate::control::api::{
    Deregister, Deregistered, Register, Registration, TargetList, WeightChange,
};
use crate::control::handle::{Changed, RuleStatus, Status, TargetStatus, Upgraded};

/// How often health is asked for while waiting.
const POLL: Duration = Duration::from_millis(200);
/// Longest wait for a new process to be ready.
const UPGRADE_WAIT: Duration = Duration::from_secs(120);

/// Carries out `command`.
///
/// # Errors
/// Why it was not carried out.
pub(super) async fn carry_out(
    client: &Client,
    command: &ClientCommand,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    match command {
        ClientCommand::Status(options) => show_status(client, options, output).await,
        ClientCommand::Targets(options) => of_targets(client, &options.command, output).await,
        ClientCommand::Groups(options) => named::groups(client, &options.command, output).await,
        ClientCommand::Listeners(options) => {
            named::listeners(client, &options.command, output).await
        }
        ClientCommand::Rules(options) => of_rules(client, &options.command, output).await,
        ClientCommand::Mode(options) => {
            let mode = match options.mode {
                Layer::L4 => "l4",
                Layer::L7 => "l7",
            };
            let path = format!("/v1/listeners/{}/mode", segment(&options.listener));
            let question = Question::new(Method::PUT, path).body(json!({ "mode": mode }));
            let done = format!("listener {} is {mode}", options.listener);
            change(client, question, &done, output).await
        }
        ClientCommand::Reload(options) if options.or_upgrade && is_replaced(client).await? => {
            upgrade(client, output).await
        }
        ClientCommand::Reload(_) => {
            change(client, Question::new(Method::POST, "/v1/reload"), "reloaded", output).await
        }
        ClientCommand::Drain(_) => {
            client.ask_bytes(Question::new(Method::POST, "/v1/drain")).await?;
            Ok(output.say("draining: it ends once nothing is in flight\n")?)
        }
        ClientCommand::Upgrade(_) => upgrade(client, output).await,
        ClientCommand::Keys(options) => match options.command {
            KeysCommand::Rotate => {
                client.ask_bytes(Question::new(Method::POST, "/v1/keys/rotate")).await?;
                Ok(output.say("new stickiness cookies have a new key\n")?)
            }
        },
        ClientCommand::Events(options) => events::show(client, options.json, output).await,
        ClientCommand::Config(options) => show_config(client, options.command, output).await,
    }
}

/// Whether the program's file is another one than what runs.
async fn is_replaced(client: &Client) -> Result<bool, Trouble> {
    let status: Status = client.ask(Question::new(Method::GET, "/v1/status")).await?;
    Ok(status.program_changed)
}

async fn upgrade(client: &Client, output: &mut Output<'_>) -> Result<(), Trouble> {
    let question = Question::new(Method::POST, "/v1/upgrade").wait(UPGRADE_WAIT);
    let Upgraded { pid } = client.ask(question).await?;
    Ok(output.say(&format!("process {pid} has taken over\n"))?)
}

/// Asks for a change, and tells that it is `done`.
pub(super) async fn change(
    client: &Client,
    question: Question,
    done: &str,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    let Changed { generation, warnings } = client.ask(question).await?;
    warn(&warnings);
    Ok(output.say(&format!("{done} (generation {generation})\n"))?)
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

async fn show_status(
    client: &Client,
    options: &StatusOptions,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    if let Some(seconds) = options.watch {
        let interval = Duration::from_secs_f64(seconds);
        return watch::watch(client, interval, options.json, output).await;
    }
    if options.json {
        return show_json(client, "/v1/status", output).await;
    }
    let status: Status = client.ask(watch::question()).await?;
    let view = status::View { color: output.color, rate: None, now: watch::now() };
    Ok(output.say(&status::table(&status, view))?)
}

/// Prints the answer as it is, in lines.
pub(super) async fn show_json(
    client: &Client,
    path: impl Into<String>,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    let answer: Value = client.ask(Question::new(Method::GET, path)).await?;
    Ok(output.say(&format!("{answer:#}\n"))?)
}

async fn show_config(
    client: &Client,
    what: ConfigCommand,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    match what {
        ConfigCommand::Show => show_json(client, "/v1/config", output).await,
        ConfigCommand::Export => {
            let question = Question::new(Method::GET, "/v1/config.toml");
            let text = client.ask_bytes(question).await?;
            Ok(output.say(&String::from_utf8_lossy(&text))?)
        }
    }
}

async fn of_targets(
    client: &Client,
    command: &TargetsCommand,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    match command {
        TargetsCommand::Register { group, addresses, weight, ttl, wait } => {
            let limit = wait.as_deref().map(duration).transpose()?;
            let registration = |address: &String| Registration {
                address: address.clone(),
                weight: *weight,
                ttl: ttl.clone(),
            };
            let body = Register { targets: addresses.iter().map(registration).collect() };
            let question = Question::new(Method::POST, path_of(group)).body(json!(body));
            let done = format!("registered {} in {group}", count(addresses.len()));
            change(client, question, &done, output).await?;
            match limit {
                Some(limit) => healthy(client, group, addresses, limit, output).await,
                None => Ok(()),
            }
        }
        TargetsCommand::Deregister { group, addresses, wait } => {
            deregister(client, group, addresses, wait.as_deref(), output).await
        }
        TargetsCommand::List { group, json: true } => {
            show_json(client, path_of(group), output).await
        }
        TargetsCommand::List { group, json: false } => {
            let list: TargetList = client.ask(Question::new(Method::GET, path_of(group))).await?;
            let (color, now) = (output.color, watch::now());
            let rows = list.targets.iter().map(|target| targets::row(target, color, now));
            Ok(output.say(&(targets::head(color) + &rows.collect::<String>()))?)
        }
        TargetsCommand::Weight { group, address, weight } => {
            let path = format!("{}/{}/weight", path_of(group), segment(address));
            let body = json!(WeightChange { weight: *weight });
            let done = format!("{address} in {group} has weight {weight}");
            change(client, Question::new(Method::PUT, path).body(body), &done, output).await
        }
    }
}

fn path_of(group: &str) -> String {
    format!("/v1/target-groups/{}/targets", segment(group))
}

fn count(targets: usize) -> String {
    if targets == 1 { "1 target".into() } else { format!("{targets} targets") }
}

fn duration(text: &str) -> Result<Duration, Trouble> {
    config::duration(text).map_err(|flaw| {
        let help = flaw.help.map(|help| format!("; {help}")).unwrap_or_default();
        Trouble::Usage(format!("{}{help}", flaw.problem))
    })
}

async fn deregister(
    client: &Client,
    group: &str,
    addresses: &[String],
    wait: Option<&str>,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    let limit = wait.map(duration).transpose()?.unwrap_or_default();
    let body = Deregister { targets: addresses.to_vec(), wait: wait.map(Into::into) };
    let question = Question::new(Method::DELETE, path_of(group)).body(json!(body)).wait(limit);
    let Deregistered { generation, warnings, drained } = client.ask(question).await?;
    warn(&warnings);
    let targets = count(addresses.len());
    let state = match drained {
        None => "",
        Some(true) => ", nothing is in flight there",
        Some(false) => {
            let wait = wait.unwrap_or_default();
            let text = format!(
                "deregistered {targets} from {group}, but after {wait} requests are still in \
                 flight there"
            );
            return Err(Trouble::Failed(text));
        }
    };
    Ok(output
        .say(&format!("deregistered {targets} from {group}{state} (generation {generation})\n"))?)
}

/// Waits until all `addresses` of `group` are healthy.
async fn healthy(
    client: &Client,
    group: &str,
    addresses: &[String],
    limit: Duration,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    let deadline = Instant::now() + limit;
    let is_wanted = |target: &&TargetStatus| {
        addresses
            .iter()
            .any(|it| it.parse::<std::net::SocketAddr>().ok() == target.address.parse().ok())
    };
    loop {
        let list: TargetList = client.ask(Question::new(Method::GET, path_of(group))).await?;
        let sick: Vec<_> =
            list.targets.iter().filter(is_wanted).filter(|it| it.state != "healthy").collect();
        if sick.is_empty() {
            return Ok(output.say("all of them are healthy\n")?);
        }
        if Instant::now() >= deadline {
            let states = sick.iter().map(|target| state_of(target)).collect::<Vec<_>>();
            return Err(Trouble::Failed(format!("not healthy in time: {}", states.join("; "))));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn state_of(target: &TargetStatus) -> String {
    let why = target.description.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
    format!("{} is {}{why}", target.address, target.state)
}

async fn of_rules(
    client: &Client,
    command: &RulesCommand,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    let rules = |listener: &str| format!("/v1/listeners/{}/rules", segment(listener));
    match command {
        RulesCommand::List { listener, json: true } => {
            show_json(client, rules(listener), output).await
        }
        RulesCommand::List { listener, json: false } => {
            let answer: serde_json::Map<String, Value> =
                client.ask(Question::new(Method::GET, rules(listener))).await?;
            let each = answer.into_iter().filter_map(|(priority, rule)| {
                Some(RuleStatus { priority: priority.parse().ok()?, rule, origin: String::new() })
            });
            let mut each: Vec<RuleStatus> = each.collect();
            each.sort_by_key(|rule| rule.priority);
            Ok(output.say(&status::rules(&each))?)
        }
        RulesCommand::Put { listener, priority, rule, json } => {
            let body = rule::read(rule::RULE, rule.as_deref(), json.as_deref())?;
            let path = format!("{}/{priority}", rules(listener));
            let done = format!("listener {listener} has rule {priority}");
            change(client, Question::new(Method::PUT, path).body(body), &done, output).await
        }
        RulesCommand::Delete { listener, priority } => {
            let path = format!("{}/{priority}", rules(listener));
            let done = format!("listener {listener} has no rule {priority} any more");
            change(client, Question::new(Method::DELETE, path), &done, output).await
        }
    }
}
