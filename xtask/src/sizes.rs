//! `sizes`: what each interface adds to the whole, and what it takes alone.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::args::Args;
use crate::cli::{Action, Command};
use crate::interface::Interface;
use crate::report::Report;
use crate::slice::{Export, exports, slice};
use crate::{artifacts, build, workspace};

/// `cargo xtask sizes`.
pub const COMMAND: Command = Command {
    name: "sizes",
    summary: "Measure what each interface takes of ifmatch.wasm",
    action: Action::Here {
        help: HELP,
        check: |args| args.finish(),
        run,
    },
};

const HELP: &str = "\
usage: cargo xtask sizes

Builds ifmatch.wasm without each of its interfaces, and with each of them alone, the
way the slices are built. Takes some ten minutes; what was built before is kept in
target/sizes.
";

/// The artifact with all interfaces.
const WHOLE: &str = "ifmatch";

fn run(args: Args) -> Result<ExitCode> {
    args.finish()?;
    build::bring_up(&[WHOLE.to_owned()])?;
    let module = build::compiled(WHOLE)?;
    let exports = exports(&module)?;
    let callable: Vec<&str> = exports
        .iter()
        .filter(|export| export.has_functions)
        .map(|export| export.name.as_str())
        .collect();
    let measure = |name: &str, kept: &[&str]| {
        let types = types_of(kept, &exports);
        measure(name, &slice(&module, kept, &types)?)
    };
    println!(
        "{:30} {:>22} {:>22}",
        "bytes", "the whole without it", "alone"
    );
    let whole = measure("whole", &callable)?;
    println!("{:30} {:>22}", "nothing", figures(&whole));
    for interface in &callable {
        let mut others = callable.clone();
        others.retain(|other| other != interface);
        let name = interface.replace([':', '/'], "-");
        let without = measure(&format!("without-{name}"), &others)?;
        let alone = measure(&format!("only-{name}"), &[interface])?;
        println!(
            "{interface:30} {:>22} {:>22}",
            figures(&without),
            figures(&alone)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The interfaces besides `kept` whose types those use, or the types of those.
fn types_of<'a>(kept: &[&'a str], exports: &'a [Export]) -> Vec<&'a str> {
    let mut wanted = kept.to_vec();
    let mut at = 0;
    while let Some(&name) = wanted.get(at) {
        at += 1;
        for used in exports
            .iter()
            .filter(|export| export.name == name)
            .flat_map(|export| &export.uses)
        {
            if !wanted.contains(&used.as_str()) {
                wanted.push(used);
            }
        }
    }
    wanted.split_off(kept.len())
}

fn measure(name: &str, module: &[u8]) -> Result<Report> {
    let directory = workspace::root().join("target/sizes");
    fs::create_dir_all(&directory)?;
    let path = directory.join(name).with_extension("wasm");
    fs::write(&path, module).with_context(|| format!("cannot write {}", path.display()))?;
    let component = build::finished(&path, artifacts::find(WHOLE)?)?;
    Report::new(WHOLE, String::new(), &component, Interface::default())
}

fn figures(report: &Report) -> String {
    format!("{} ({} gzip)", report.bytes, report.gzip_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_kept_for_those_that_use_them() {
        let export = |name: &str, uses: &[&str]| Export {
            name: name.into(),
            has_functions: true,
            uses: uses.iter().map(|used| used.to_string()).collect(),
        };
        let exports = [export("c", &["b"]), export("b", &["a"]), export("a", &[])];
        assert_eq!(types_of(&["c"], &exports), ["b", "a"]);
        assert_eq!(types_of(&["c", "b"], &exports), ["a"]);
        assert!(types_of(&["a"], &exports).is_empty());
    }
}
