//! The `ringway` command: from the command line to an exit status.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use ringway::cli::{self, Cli, Command, Format, LogFormat};
use ringway::config::{self, Color, Diagnostic, Failure, Loaded};
use ringway::control::{self, Source, StartError, Started};
use ringway::log::Level;
use ringway::overlay::{self, Keyed};
use ringway::{client, compare, demo, doctor, log, platform};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit status for a configuration with mistakes (sysexits.h: EX_CONFIG).
const EXIT_CONFIG: u8 = 78;
/// Exit status for a configuration that cannot be read (sysexits.h: EX_NOINPUT).
const EXIT_NO_INPUT: u8 = 66;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(options) => run(&options),
        Command::Check(options) => return check(&options),
        Command::Demo(options) => run_demo(&options),
        Command::Compare(options) => compare::run(&options).map_err(Into::into),
        Command::Doctor(options) => return examine(&options),
        Command::Client(command) => return ExitCode::from(client::run(&command)),
        Command::Version => print(&platform::describe()),
        Command::Schema => print(&config::json_schema()),
        Command::Completions(options) => {
            cli::completions(options.shell, &mut std::io::stdout()).map_err(Into::into)
        }
        Command::Man(options) => cli::man_pages(&options.dir).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast::<Failure>() {
            Ok(failure) => refuse(&failure),
            Err(error) => {
                log::complain(Level::ERROR, &format!("ringway: {error}\n"));
                ExitCode::FAILURE
            }
        },
    }
}

type CommandResult = Result<(), Box<dyn std::error::Error>>;

fn run(options: &cli::Run) -> CommandResult {
    log::start(match options.log_format {
        LogFormat::Text => log::Form::Text,
        LogFormat::Json => log::Form::Json,
    });
    let (text, loaded) = config::load_with_text(&options.config)?;
    for warning in &loaded.warnings {
        tracing::warn!("{}", in_one_line(warning));
    }
    serve(Some(options.config.clone()), text, loaded, |started| {
        announce(started);
        let (workers, driver) = (started.workers, started.engine.driver());
        say(&format!("ready workers={workers} driver={driver}\n"));
    })
}

/// A warning as a log has it.
fn in_one_line(warning: &Diagnostic) -> String {
    let line = warning.place.as_ref().map_or(0, |place| place.line);
    let help = warning.help.as_deref().unwrap_or_default();
    format!("{}:{line}: {}; {help}", warning.file, warning.problem)
}

fn run_demo(options: &cli::Demo) -> CommandResult {
    let targets = demo::Targets::start()?;
    let certificate = options.tls.then(demo::Certificate::make).transpose()?;
    let usual = [demo::L7_ADDRESS, demo::L4_ADDRESS, demo::TLS_ADDRESS];
    let certificate = certificate.as_ref();
    match demo_on(&targets, certificate, usual.map(demo::free_address)) {
        // Another process was faster: any port will do.
        Err(error) if matches!(error.downcast_ref(), Some(StartError::Bind { .. })) => {
            let any = usual.map(|address| SocketAddr::new(address.ip(), 0));
            demo_on(&targets, certificate, any)
        }
        result => result,
    }
}

fn demo_on(
    targets: &demo::Targets,
    certificate: Option<&demo::Certificate>,
    [l7, l4, tls]: [SocketAddr; 3],
) -> CommandResult {
    let configuration = |l7, l4, tls| {
        let listener = certificate.map(|certificate| certificate.listener(tls));
        demo::configuration(targets.home(), targets.blog(), l7, l4) + &listener.unwrap_or_default()
    };
    let text = configuration(l7, l4, tls);
    let loaded = config::parse(&text, "demo")?;
    serve(None, text, loaded, |started| {
        announce(started);
        if let [web, tcp, more @ ..] = started.listeners.as_slice() {
            let tls = more.first().map_or(tls, |listening| listening.address);
            let text = configuration(web.address, tcp.address, tls);
            say(&demo::instructions(web.address, tcp.address, &text));
            if let Some(certificate) = certificate {
                say(&certificate.instructions(tls));
            }
        }
    })
}

fn serve(
    path: Option<PathBuf>,
    text: String,
    loaded: Loaded,
    started: impl FnOnce(&Started),
) -> CommandResult {
    let source = Source { path, text, program: std::env::current_exe()? };
    control::run(source, loaded, started).map_err(Into::into)
}

fn announce(started: &Started) {
    for listener in &started.listeners {
        say(&format!("{listener}\n"));
    }
}

fn examine(options: &cli::Doctor) -> ExitCode {
    let is_terminal = std::io::stdout().is_terminal();
    match doctor::run(options, if is_terminal { color() } else { Color::Off }) {
        Ok((text, status)) => {
            say(&text);
            ExitCode::from(status)
        }
        Err(error) => {
            eprintln!("ringway: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(options: &cli::Check) -> ExitCode {
    let loaded = match (config::load(&options.config), options.format) {
        (Ok(loaded), _) => loaded,
        (Err(failure), Format::Text) => return refuse(&failure),
        (Err(failure), Format::Json) => {
            say(&config::render_json(failure.errors.iter().chain(&failure.warnings)));
            return exit_of(&failure);
        }
    };
    let changes = match changes_over(&options.config, &loaded) {
        Ok(changes) => changes,
        Err(failure) => return refuse(&failure),
    };
    match options.format {
        Format::Json => say(&config::render_json(&loaded.warnings)),
        Format::Text => {
            for warning in &loaded.warnings {
                log::complain(Level::WARN, &format!("{}\n", warning.render(color())));
            }
            let (listeners, groups) = (&loaded.model.listeners, &loaded.model.target_groups);
            let file = options.config.display();
            let (listeners, groups) = (listeners.len(), groups.len());
            say(&format!("{file}: good: {listeners} listeners, {groups} target groups\n"));
            if !changes.is_empty() {
                say("changed over it through the control API, in the state directory:\n");
                changes.iter().for_each(|change| say(&format!("  {change}\n")));
            }
        }
    }
    ExitCode::SUCCESS
}

/// What was changed at run time over the file, a line each. The whole has to be good as well.
fn changes_over(path: &Path, loaded: &Loaded) -> Result<Vec<String>, Failure> {
    let Some(dir) = &loaded.model.server.state_dir else { return Ok(Vec::new()) };
    let unreadable =
        |error: &dyn std::fmt::Display| log::complain(Level::WARN, &format!("warning: {error}\n"));
    let mut overlay = match overlay::store::load(dir) {
        Ok(overlay) => overlay,
        Err(error) => {
            unreadable(&error);
            return Ok(Vec::new());
        }
    };
    let (text, _) = config::load_with_text(path)?;
    let Ok(file) = Keyed::parse(&text) else { return Ok(Vec::new()) };
    for warning in overlay.reconcile(&file) {
        unreadable(&warning);
    }
    overlay.load(&file)?;
    Ok(overlay.lines())
}

fn refuse(failure: &Failure) -> ExitCode {
    log::complain(Level::ERROR, &failure.render(color()));
    exit_of(failure)
}

fn exit_of(failure: &Failure) -> ExitCode {
    ExitCode::from(if failure.unreadable.is_some() { EXIT_NO_INPUT } else { EXIT_CONFIG })
}

fn color() -> Color {
    if log::has_color() { Color::On } else { Color::Off }
}

fn print(text: &str) -> CommandResult {
    std::io::stdout().write_all(text.as_bytes()).map_err(Into::into)
}

/// Writes to standard output. A reader that has gone must not end a load balancer.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
