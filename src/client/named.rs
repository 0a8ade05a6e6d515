//! Listeners and target groups: shown, made, replaced and removed by their names.

use hyper::Method;
use serde_json::Value;

use super::commands::{change, show_json};
use super::connect::{Client, Question, segment};
use super::look::Output;
use super::rule::{self, GROUP, LISTENER};
use super::{Trouble, status, watch};
use crate::cli::{GroupsCommand, ListenersCommand};
use crate::control::handle::Status;

/// Where the API has the target groups.
const GROUPS: &str = "/v1/target-groups";
/// Where the API has the listeners.
const LISTENERS: &str = "/v1/listeners";

/// Carries out a command about target groups.
///
/// # Errors
/// Why it was not carried out.
pub(super) async fn groups(
    client: &Client,
    command: &GroupsCommand,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    match command {
        GroupsCommand::List { json: true } => show_json(client, GROUPS, output).await,
        GroupsCommand::List { json: false } => {
            let status: Status = client.ask(watch::question()).await?;
            let view = status::View { color: output.color, rate: None, now: watch::now() };
            let blocks = status.target_groups.iter().map(|group| status::group_block(group, view));
            Ok(output.say(&blocks.collect::<Vec<_>>().join("\n"))?)
        }
        GroupsCommand::Put { name, group, json } => {
            let group = rule::read(GROUP, group.as_deref(), json.as_deref())?;
            let done = format!("there is target group {name}");
            put(client, GROUPS, name, group, &done, output).await
        }
        GroupsCommand::Delete { name } => {
            delete(
                client,
                GROUPS,
                name,
                &format!("there is no target group {name} any more"),
                output,
            )
            .await
        }
    }
}

/// Carries out a command about listeners.
///
/// # Errors
/// Why it was not carried out.
pub(super) async fn listeners(
    client: &Client,
    command: &ListenersCommand,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    match command {
        ListenersCommand::List { json: true } => show_json(client, LISTENERS, output).await,
        ListenersCommand::List { json: false } => {
            let status: Status = client.ask(watch::question()).await?;
            let view = status::View { color: output.color, rate: None, now: watch::now() };
            let block = |listener| status::listener_block(listener, view);
            let blocks = status.listeners.iter().map(block).collect::<Vec<_>>();
            Ok(output.say(&blocks.join("\n"))?)
        }
        ListenersCommand::Put { name, listener, json } => {
            let listener = rule::read(LISTENER, listener.as_deref(), json.as_deref())?;
            let done = format!("there is listener {name}");
            put(client, LISTENERS, name, listener, &done, output).await
        }
        ListenersCommand::Delete { name } => {
            delete(
                client,
                LISTENERS,
                name,
                &format!("there is no listener {name} any more"),
                output,
            )
            .await
        }
    }
}

async fn put(
    client: &Client,
    all: &str,
    name: &str,
    body: Value,
    done: &str,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    let question = Question::new(Method::PUT, format!("{all}/{}", segment(name))).body(body);
    change(client, question, done, output).await
}

async fn delete(
    client: &Client,
    all: &str,
    name: &str,
    done: &str,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    let question = Question::new(Method::DELETE, format!("{all}/{}", segment(name)));
    change(client, question, done, output).await
}
