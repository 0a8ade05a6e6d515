//! `ringway doctor` against misconfigurations that are provoked for real: each is named with its
//! cure, and once that is applied the finding is gone.

#[path = "../harness/mod.rs"]
mod harness;

mod files;
mod machine;
mod network;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::*;
use serde_json::Value;
use tempfile::TempDir;

/// A configuration that is examined, with a directory of its own for what it names.
struct Patient {
    dir: TempDir,
    target: Target,
    config: String,
    /// What the doctor runs under, as `prlimit --nofile=40`.
    under: Vec<String>,
}

impl Patient {
    /// One that needs nothing: a target that answers, and a control socket of its own.
    fn new() -> Self {
        let (dir, target) = (tempfile::tempdir().expect("directory"), Target::named("a"));
        let control = format!("control = {{ socket = \"{}/control.sock\" }}", dir.path().display());
        let config = http(&[&target]).one_worker().server(&control).text();
        Self { dir, target, config, under: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// With this text in place of that one.
    fn with(mut self, old: &str, new: &str) -> Self {
        assert!(self.config.contains(old), "{old} is not in\n{}", self.config);
        self.config = self.config.replace(old, new);
        self
    }

    /// With this driver, whatever the tests are run with.
    fn driver(mut self, name: &str) -> Self {
        let (before, rest) = self.config.split_once("driver = ").expect("a driver");
        let (_, after) = rest.split_once('\n').expect("an end of its line");
        self.config = format!("{before}driver = \"{name}\"\n{after}");
        self
    }

    /// With a line more in `[server]`.
    fn server(self, line: &str) -> Self {
        self.with("[server]\n", &format!("[server]\n{line}\n"))
    }

    /// With a line more in the target group.
    fn group(self, line: &str) -> Self {
        self.with("name = \"home\"\n", &format!("name = \"home\"\n{line}\n"))
    }

    /// With the listener on `address`.
    fn listening_on(self, address: &str) -> Self {
        self.with("address = \"127.0.0.1:0\"", &format!("address = \"{address}\""))
    }

    /// With the group's targets at these addresses, and probed over HTTP.
    fn probing(self, targets: &str) -> Self {
        let address = format!("\"{}\"", self.target.address());
        self.with(&address, targets)
            .with("health_check = { enabled = false }", "health_check = { timeout = \"3s\" }")
    }

    /// Examined by a doctor that runs under this command.
    fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    fn examine(&self) -> Diagnosis {
        let config = self.path("ringway.toml");
        // The mode of the file stays as it is where it exists.
        fs::write(&config, &self.config).expect("write configuration");
        let doctor = [env!("CARGO_BIN_EXE_ringway"), "doctor", "--format", "json", "--config"];
        let mut words = self.under.iter().map(String::as_str).chain(doctor);
        let mut command = Command::new(words.next().expect("a command"));
        command.args(words).arg(&config).stdin(Stdio::null());
        let output = command.output().expect("run the doctor");
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            panic!("{error}: {}\n{}", text(&output.stdout), text(&output.stderr))
        });
        Diagnosis { status: output.status.code(), report }
    }
}

/// What the doctor said.
struct Diagnosis {
    status: Option<i32>,
    report: Value,
}

impl Diagnosis {
    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.report["findings"].as_array().expect("findings").iter()
    }

    fn find(&self, check: &str) -> Option<&Value> {
        self.findings().find(|finding| finding["check"] == check)
    }

    /// That `check` was found with this severity, a reason, and a text that holds `about`.
    #[track_caller]
    fn expect(&self, check: &str, severity: &str, about: &str) {
        let Some(finding) = self.find(check) else { panic!("no {check}: {:#}", self.report) };
        assert_eq!(finding["severity"], severity, "{finding:#}");
        assert!(finding.to_string().contains(about), "nothing about {about}: {finding:#}");
        assert_ne!(finding["why"], "", "{finding:#}");
        assert!(finding["cure"].as_array().is_some_and(|cure| !cure.is_empty()), "{finding:#}");
        let expected = match severity {
            "error" => 1,
            "warning" if self.report["errors"] == 0 => 3,
            _ => return,
        };
        assert_eq!(self.status, Some(expected), "{:#}", self.report);
    }

    /// That `check` was not found.
    #[track_caller]
    fn expect_no(&self, check: &str) {
        assert_eq!(self.find(check), None, "{:#}", self.report);
    }
}

fn is_root() -> bool {
    run("id", &["-u"]).trim() == "0"
}

/// What `program` prints.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A command under which root has no privilege beyond that of its user id; none for others.
fn unprivileged() -> &'static [&'static str] {
    match is_root() {
        true => &["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
        false => &[],
    }
}

/// Whether `command` works here; says that the test is left out where it does not.
fn can(command: &[&str]) -> bool {
    let works = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("SKIPPED: `{}` does not work here", command.join(" "));
    }
    works
}

#[test]
fn patient_without_faults_has_no_errors() {
    let diagnosis = Patient::new().examine();
    assert_eq!(diagnosis.report["errors"], 0, "{:#}", diagnosis.report);
    assert!(matches!(diagnosis.status, Some(0 | 3)), "{:?}", diagnosis.status);
    for name in ["kernel", "io_uring", "cores", "open files", "targets", "running"] {
        assert!(diagnosis.report["overview"].to_string().contains(name), "nothing about {name}");
    }
}

#[test]
fn report_for_people_has_what_why_and_what_to_do() {
    let patient = Patient::new().listening_on("192.0.2.1:8080");
    patient.examine();
    let config = patient.path("ringway.toml");
    let output = Ringway::output(&["doctor", "--config", config.to_str().expect("UTF-8")]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "error ",
        "192.0.2.1:8080",
        "[address-missing]",
        "  why ",
        "  do ",
        "1 error, ",
        "io_uring",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn docs_name_every_check() {
    let root = env!("CARGO_MANIFEST_DIR");
    let docs = fs::read_to_string(format!("{root}/docs/doctor.md")).expect("docs/doctor.md");
    let named = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut named: Vec<String> = named.map(|(check, _)| check.to_owned()).collect();
    let mut checks = Vec::new();
    for entry in fs::read_dir(format!("{root}/src/doctor/judge")).expect("directory") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            checks.extend(checks_of(&fs::read_to_string(path).expect("UTF-8")));
        }
    }
    for list in [&mut named, &mut checks] {
        list.sort();
        list.dedup();
    }
    assert!(checks.len() > 50, "only {} checks found in the sources", checks.len());
    assert_eq!(named, checks, "docs/doctor.md on the left, src/doctor/judge on the right");
}

/// The names in `finding("name"`, `Finding::error("name"` and their like, and `check = "name"`.
fn checks_of(source: &str) -> Vec<String> {
    let openings = ["Finding::error(", "Finding::warning(", "Finding::note(", "finding("];
    let mut found = Vec::new();
    for opening in openings {
        for (at, _) in source.match_indices(opening) {
            let behind = source[at + opening.len()..].trim_start();
            found.extend(behind.strip_prefix('"').and_then(|it| it.split('"').next()));
        }
    }
    let elsewhere =
        ["config-unreadable", "config-mistake", "port-privileged", "control-socket-stranger"];
    found.extend(elsewhere.iter().filter(|it| source.contains(**it)));
    found.into_iter().map(str::to_owned).collect()
}
