//! What is installed beside the program: units that systemd accepts and that expose little, and
//! `scripts/install.sh`. `scripts/test-service.sh` runs all of it on a real system.

#![allow(clippy::disallowed_methods, reason = "tests are ordinary threads")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The most that `systemd-analyze security` may make of the unit, in tenths.
const EXPOSURE_MAX: &str = "16";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The units, with the program under test in place of the installed one.
fn units(dir: &Path) -> [PathBuf; 2] {
    ["ringway.service", "ringway.socket"].map(|name| {
        let text = fs::read_to_string(root().join("systemd").join(name)).expect("a unit");
        let path = dir.join(name);
        let program = env!("CARGO_BIN_EXE_ringway");
        fs::write(&path, text.replace("/usr/bin/ringway", program)).expect("write");
        path
    })
}

fn text(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    streams.concat()
}

/// Runs a program, which has to succeed; what it says.
fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(output.status.success(), "{} {arguments:?}: {}", program.display(), text(&output));
    text(&output)
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let dir = tempfile::tempdir().expect("a directory");
    for unit in units(dir.path()) {
        let unit = unit.to_str().expect("UTF-8");
        let said = run(Path::new("systemd-analyze"), &["verify", "--man=no", unit]);
        assert_eq!(said, "", "{unit}");
    }
}

#[test]
fn the_service_is_exposed_to_little() {
    let dir = tempfile::tempdir().expect("a directory");
    let [service, _] = units(dir.path());
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let service = service.to_str().expect("UTF-8");
    let arguments = ["security", "--offline=true", "--no-pager", &threshold, service];
    let said = run(Path::new("systemd-analyze"), &arguments);
    assert!(said.contains("Overall exposure level"), "{said}");
}

/// Every file below `dir`, relative to it.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).expect("a directory") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => dirs.push(path),
                false => {
                    let path = path.strip_prefix(dir).expect("below it");
                    found.push(path.to_str().expect("UTF-8").to_owned());
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_install_script_installs_once_and_removes_what_it_installed() {
    let dir = tempfile::tempdir().expect("a directory");
    let to = dir.path().to_str().expect("UTF-8");
    let install = |more: &[&str]| {
        let program = env!("CARGO_BIN_EXE_ringway");
        let usual = ["--root", to, "--prefix", "/opt/ringway", "--binary", program];
        run(&root().join("scripts/install.sh"), &[&usual, more].concat())
    };
    assert!(install(&["--dry-run"]).contains("install -m 755 "), "it says what it would do");
    assert_eq!(files(dir.path()), Vec::<String>::new(), "and does nothing");

    install(&[]);
    let installed = files(dir.path());
    for file in [
        "etc/ringway/ringway.toml",
        "opt/ringway/bin/ringway",
        "opt/ringway/lib/systemd/system/ringway.service",
        "opt/ringway/share/man/man1/ringway.1",
    ] {
        assert!(installed.iter().any(|it| it == file), "{file} is not among {installed:?}");
    }
    let unit = dir.path().join("opt/ringway/lib/systemd/system/ringway.service");
    let unit = fs::read_to_string(unit).expect("the unit");
    assert!(unit.contains("ExecStart=/opt/ringway/bin/ringway run"), "{unit}");
    assert!(!unit.contains("/usr/bin/ringway"), "{unit}");

    let config = dir.path().join("etc/ringway/ringway.toml");
    fs::write(&config, "# the operator's own\n").expect("write");
    let again = install(&[]);
    assert!(!again.contains("install -m"), "all is the same already: {again}");
    assert_eq!(fs::read_to_string(&config).expect("kept"), "# the operator's own\n");

    install(&["--uninstall"]);
    assert_eq!(files(dir.path()), ["etc/ringway/ringway.toml"], "the operator's");
    install(&["--uninstall", "--purge"]);
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

#[test]
fn the_scripts_say_what_they_do_and_refuse_what_they_do_not_know() {
    for script in ["install.sh", "package.sh", "test-service.sh"] {
        let path = root().join("scripts").join(script);
        let help = run(&path, &["--help"]);
        assert!(help.contains(&format!("scripts/{script}")), "{help}");
        let output = Command::new(&path).arg("--nonsense").output().expect("run");
        assert_eq!(output.status.code(), Some(2), "{script}: {}", text(&output));
        assert!(text(&output).contains("--nonsense"), "{script}: {}", text(&output));
    }
}

#[test]
fn the_configuration_that_is_installed_is_good() {
    let path = root().join("packaging/ringway.toml");
    let arguments = ["check", "--config", path.to_str().expect("UTF-8")];
    let said = run(Path::new(env!("CARGO_BIN_EXE_ringway")), &arguments);
    assert!(said.ends_with(": good: 1 listeners, 0 target groups\n"), "{said}");
}

/// What the package names exists; those that are made when it is built are not looked for.
#[test]
fn the_package_has_what_it_names() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let deb = &manifest["package"]["metadata"]["deb"];
    let assets = deb["assets"].as_array().expect("assets");
    let mut targets = Vec::new();
    for asset in assets {
        let part = |at: usize| asset[at].as_str().expect("text");
        targets.push(part(1));
        if !part(0).starts_with("target/") && !part(0).contains('*') {
            assert!(root().join(part(0)).is_file(), "{}", part(0));
        }
    }
    for file in deb["conf-files"].as_array().expect("conf-files") {
        let file = file.as_str().expect("text").trim_start_matches('/');
        assert!(targets.contains(&file), "{file} is not installed");
    }
    let scripts = root().join(deb["maintainer-scripts"].as_str().expect("a directory"));
    for script in ["postinst", "prerm", "postrm"] {
        run(Path::new("sh"), &["-n", scripts.join(script).to_str().expect("UTF-8")]);
    }
}
