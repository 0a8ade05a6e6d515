//! Help texts, completions and man pages, as a newcomer meets them.

use std::fs;

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

const VISIBLE: [&str; 18] = [
    "run",
    "check",
    "demo",
    "compare",
    "doctor",
    "version",
    "status",
    "targets",
    "groups",
    "listeners",
    "rules",
    "mode",
    "reload",
    "drain",
    "upgrade",
    "keys",
    "events",
    "config",
];
const NESTED: [&str; 16] = [
    "targets-register",
    "targets-deregister",
    "targets-list",
    "targets-weight",
    "groups-list",
    "groups-put",
    "groups-delete",
    "listeners-list",
    "listeners-put",
    "listeners-delete",
    "rules-list",
    "rules-put",
    "rules-delete",
    "keys-rotate",
    "config-export",
    "config-show",
];
const HIDDEN: [&str; 3] = ["schema", "completions", "man"];

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

/// What a command line means, in words that a table can hold.
fn meaning(line: &str) -> Result<String, ErrorKind> {
    Ok(match parse(line).map_err(|error| error.kind())?.command {
        Command::Run(run) => format!("run {} {:?}", run.config.display(), run.log_format),
        Command::Check(check) => format!("check {} {:?}", check.config.display(), check.format),
        Command::Demo(demo) => format!("demo {}", demo.tls),
        Command::Doctor(it) => format!("doctor {} {:?}", it.config.display(), it.format),
        Command::Compare(compare) => {
            let Compare { targets, duration, tool, peer, rate, .. } = compare;
            format!("compare {targets:?} {duration:?} {tool:?} {peer:?} {rate:?}")
        }
        Command::Version => "version".into(),
        Command::Schema => "schema".into(),
        Command::Completions(completions) => format!("completions {:?}", completions.shell),
        Command::Man(man) => format!("man {}", man.dir.display()),
        Command::Client(command) => client_meaning(&command),
    })
}

fn client_meaning(command: &ClientCommand) -> String {
    let reach = command.reach();
    let meant = match command {
        ClientCommand::Status(status) => format!("status {:?} {}", status.watch, status.json),
        ClientCommand::Targets(targets) => format!("targets {:?}", targets.command),
        ClientCommand::Groups(groups) => format!("groups {:?}", groups.command),
        ClientCommand::Listeners(listeners) => format!("listeners {:?}", listeners.command),
        ClientCommand::Rules(rules) => format!("rules {:?}", rules.command),
        ClientCommand::Mode(mode) => format!("mode {} {:?}", mode.listener, mode.mode),
        ClientCommand::Reload(reload) if reload.or_upgrade => "reload or upgrade".into(),
        ClientCommand::Reload(_) => "reload".into(),
        ClientCommand::Drain(_) => "drain".into(),
        ClientCommand::Upgrade(_) => "upgrade".into(),
        ClientCommand::Keys(keys) => format!("keys {:?}", keys.command),
        ClientCommand::Events(events) => format!("events {}", events.json),
        ClientCommand::Config(config) => format!("config {:?}", config.command),
    };
    let at = [
        reach.socket.as_ref().map(|path| path.display().to_string()),
        reach.url.clone(),
        reach.token_file.as_ref().map(|path| path.display().to_string()),
    ];
    at.into_iter().flatten().fold(meant, |meant, at| meant + " at " + &at)
}

#[test]
fn client_command_lines_mean_what_the_help_says() {
    let cases = [
        ("status", "status None false"),
        ("status --watch --json", "status Some(1.0) true"),
        ("status --watch=0.5 --socket /s", "status Some(0.5) false at /s"),
        ("reload --url http://h:1 --token-file t", "reload at http://h:1 at t"),
        ("reload --or-upgrade --socket /s", "reload or upgrade at /s"),
        ("targets --socket /s list g", "targets List { group: \"g\", json: false } at /s"),
        ("targets list g --json --socket /s", "targets List { group: \"g\", json: true } at /s"),
        (
            "targets register g a b --weight 5 --ttl 30s --wait",
            "targets Register { group: \"g\", addresses: [\"a\", \"b\"], weight: Some(5), \
             ttl: Some(\"30s\"), wait: Some(\"30s\") }",
        ),
        (
            "targets deregister g --wait=5s a",
            "targets Deregister { group: \"g\", addresses: [\"a\"], wait: Some(\"5s\") }",
        ),
        ("targets weight g a 0", "targets Weight { group: \"g\", address: \"a\", weight: 0 }"),
        (
            "rules put web 10 x=1",
            "rules Put { listener: \"web\", priority: 10, rule: Some(\"x=1\"), json: None }",
        ),
        (
            "rules put web 10 --json {}",
            "rules Put { listener: \"web\", priority: 10, rule: None, json: Some(\"{}\") }",
        ),
        ("rules delete web 10", "rules Delete { listener: \"web\", priority: 10 }"),
        ("groups list --json", "groups List { json: true }"),
        (
            "groups put g --socket /s x=1",
            "groups Put { name: \"g\", group: Some(\"x=1\"), json: None } at /s",
        ),
        ("groups delete g", "groups Delete { name: \"g\" }"),
        ("listeners list", "listeners List { json: false }"),
        (
            "listeners put web --json {}",
            "listeners Put { name: \"web\", listener: None, json: Some(\"{}\") }",
        ),
        ("listeners delete web", "listeners Delete { name: \"web\" }"),
        ("mode web l4", "mode web L4"),
        ("keys rotate", "keys Rotate"),
        ("events --json", "events true"),
        ("config export", "config Export"),
        ("config show", "config Show"),
    ];
    for (line, expected) in cases {
        assert_eq!(meaning(&format!("ringway {line}")).as_deref(), Ok(expected), "{line}");
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn command_lines_mean_what_the_help_says() {
    let cases = [
        ("ringway run", "run /etc/ringway/ringway.toml Text"),
        ("ringway run --config a.toml", "run a.toml Text"),
        ("ringway run -c a.toml --log-format json", "run a.toml Json"),
        ("ringway check", "check /etc/ringway/ringway.toml Text"),
        ("ringway check --format json --config=b", "check b Json"),
        ("ringway demo", "demo false"),
        ("ringway demo --tls", "demo true"),
        ("ringway compare", "compare [] 20s BuiltIn [] None"),
        (
            "ringway compare --targets 127.0.0.1:1,[::1]:2 --tool wrk --peer nginx --rate 9",
            "compare [127.0.0.1:1, [::1]:2] 20s Wrk [Nginx] Some(9)",
        ),
        ("ringway version", "version"),
        ("ringway schema", "schema"),
        ("ringway completions zsh", "completions Zsh"),
        ("ringway man /tmp/x", "man /tmp/x"),
    ];
    for (line, expected) in cases {
        assert_eq!(meaning(line).as_deref(), Ok(expected), "{line}");
    }
}

#[test]
fn wrong_command_lines_are_refused() {
    let cases = [
        ("ringway", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("ringway rum", ErrorKind::InvalidSubcommand),
        ("ringway run a.toml", ErrorKind::UnknownArgument),
        ("ringway run --config", ErrorKind::InvalidValue),
        ("ringway check --format xml", ErrorKind::InvalidValue),
        ("ringway demo --config a", ErrorKind::UnknownArgument),
        ("ringway completions tcsh", ErrorKind::InvalidValue),
        ("ringway man", ErrorKind::MissingRequiredArgument),
        ("ringway status --watch=0", ErrorKind::ValueValidation),
        ("ringway status --socket /s --url http://h", ErrorKind::ArgumentConflict),
        ("ringway targets", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("ringway targets register g", ErrorKind::MissingRequiredArgument),
        ("ringway targets weight g a -1", ErrorKind::UnknownArgument),
        ("ringway rules put web x y", ErrorKind::ValueValidation),
        ("ringway rules put web 1 y --json {}", ErrorKind::ArgumentConflict),
        ("ringway groups", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("ringway groups put", ErrorKind::MissingRequiredArgument),
        ("ringway listeners put web x --json {}", ErrorKind::ArgumentConflict),
        ("ringway mode web l5", ErrorKind::InvalidValue),
        ("ringway --version", ErrorKind::DisplayVersion),
        ("ringway --help", ErrorKind::DisplayHelp),
    ];
    for (line, expected) in cases {
        assert_eq!(meaning(line), Err(expected), "{line}");
    }
}

#[test]
fn help_names_examples_exit_status_and_no_hidden_command() {
    let help = |line: &str| parse(line).unwrap_err().to_string();
    for name in VISIBLE.into_iter().chain(NESTED) {
        let name = name.replace('-', " ");
        let text = help(&format!("ringway {name} --help"));
        assert!(text.contains("EXAMPLES:") && text.contains("EXIT STATUS:"), "{text}");
    }
    let text = help("ringway --help");
    assert!(text.contains("EXAMPLES:") && text.contains("EXIT STATUS:"), "{text}");
    for name in HIDDEN {
        assert!(!text.contains(&format!("\n  {name}")), "{text}");
    }
    for line in text.lines() {
        assert!(line.len() <= 100, "{line}");
    }
}

#[test]
fn completions_name_every_visible_command_and_no_hidden_one() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut script = Vec::new();
        completions(shell, &mut script).unwrap();
        let script = String::from_utf8(script).unwrap();
        for name in VISIBLE.into_iter().chain(["config", "format", "json"]) {
            assert!(script.contains(name), "{shell:?} lacks {name}");
        }
        assert!(!script.contains("schema"), "{shell:?} names a hidden command");
    }
}

#[test]
fn completions_report_a_closed_pipe() {
    assert!(completions(Shell::Bash, &mut [0; 8].as_mut_slice()).is_err());
}

#[test]
fn every_visible_command_has_a_man_page() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("man1");
    man_pages(&dir).unwrap();
    let mut names: Vec<String> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let pages = VISIBLE.into_iter().chain(NESTED);
    let mut expected: Vec<String> = pages.map(|name| format!("ringway-{name}.1")).collect();
    expected.push("ringway.1".into());
    expected.sort();
    assert_eq!(names, expected);
    for name in expected {
        let page = fs::read_to_string(dir.join(&name)).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS"] {
            let found = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
            assert!(found.iter().any(|title| page.contains(title)), "{name} lacks {section}");
        }
        assert!(!page.contains("EXTRA"), "{name}");
    }
}
