//! The guards, as `src/guards.rs` describes them.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Where they are.
const SOURCE: &str = "src/guards.rs";

/// A safety guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What the code calls it.
    pub name: String,
    /// What it does, in a sentence.
    pub what: String,
    /// What it is part of.
    pub area: String,
}

/// All guards, in the order of the source.
pub fn all() -> Result<Vec<Guard>> {
    let source = fs::read_to_string(workspace::root().join(SOURCE))
        .with_context(|| format!("cannot read {SOURCE}"))?;
    let guards = parse(&source);
    if guards.is_empty() {
        bail!("{SOURCE} has no guards");
    }
    Ok(guards)
}

/// Those with these names; all if there are none.
pub fn select(guards: Vec<Guard>, names: &[String]) -> Result<Vec<Guard>> {
    if let Some(name) = names
        .iter()
        .find(|name| guards.iter().all(|guard| guard.name != **name))
    {
        bail!("there is no guard `{name}` in {SOURCE}");
    }
    let wanted = |guard: &Guard| names.is_empty() || names.contains(&guard.name);
    Ok(guards.into_iter().filter(wanted).collect())
}

fn parse(source: &str) -> Vec<Guard> {
    let mut guards = Vec::new();
    let (mut area, mut what) = (String::new(), String::new());
    let lines = source.lines().skip_while(|line| *line != "guards! {");
    for line in lines.skip(1).take_while(|line| *line != "}") {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("/// ") {
            text.clone_into(&mut what);
        } else if let Some(text) = line.strip_prefix("// ") {
            text.clone_into(&mut area);
        } else if let Some(name) = line.strip_suffix(',') {
            guards.push(Guard {
                name: name.to_owned(),
                what: std::mem::take(&mut what),
                area: area.clone(),
            });
        }
    }
    guards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_has_a_description_and_an_area() {
        let guards = all().unwrap();
        assert!(guards.len() > 40);
        for guard in &guards {
            assert!(guard.what.ends_with('.'), "{guard:?}");
            assert!(!guard.area.is_empty(), "{guard:?}");
        }
    }

    #[test]
    fn guards_are_selected_by_name() {
        let guards = all().unwrap();
        let names = ["EpochRule".to_owned()];
        assert_eq!(select(guards.clone(), &names).unwrap().len(), 1);
        assert_eq!(select(guards.clone(), &[]).unwrap(), guards);
        assert!(select(guards, &["Epoch".to_owned()]).is_err());
    }
}
