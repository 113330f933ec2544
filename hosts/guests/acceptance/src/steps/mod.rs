//! The steps of the script, in the order in which they run.

mod blob;
mod errors;
mod lease;
mod log;
mod manifest;

use std::fmt::Debug;

/// A step works below the prefix that it is given, and tells what it saw.
pub type Step = fn(&str) -> Result<String, String>;

/// All steps.
pub const STEPS: &[(&str, Step)] = &[
    ("log", log::append_and_read),
    ("race", log::lost_race),
    ("once", log::repeated_batch),
    ("trim", log::trim),
    ("lease", lease::hand_over),
    ("take-over", lease::take_over),
    ("manifest", manifest::rebase_and_conflict),
    ("blob", blob::put_and_get),
    ("errors", errors::refusals),
];

/// Fails, naming what was expected, unless two values are equal.
fn equal<T: Debug + PartialEq>(what: &str, value: T, expected: T) -> Result<(), String> {
    if value == expected {
        Ok(())
    } else {
        Err(format!("{what}: {value:?} instead of {expected:?}"))
    }
}

/// An outcome that is not the expected one.
fn unexpected<T>(what: &str, outcome: impl Debug) -> Result<T, String> {
    Err(format!("{what}: {outcome:?}"))
}

fn text(error: impl Debug) -> String {
    format!("{error:?}")
}
