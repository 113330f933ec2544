//! How many checks and tests passed, as far as their output tells.

use anyhow::Result;

/// The results of one step.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Checks and tests that passed.
    pub passed: u32,
    /// Those that failed. At least one for each entry in `faults`.
    pub failed: u32,
    /// Tests that did not run because they are marked so.
    pub ignored: u32,
    /// What went wrong, beyond the failures that the tests themselves report.
    pub faults: Vec<String>,
    /// For the summary.
    pub notes: Vec<String>,
    /// The suite whose results come next.
    suite: String,
}

impl Tally {
    /// One check that passed.
    pub fn check() -> Self {
        Tally {
            passed: 1,
            ..Tally::default()
        }
    }

    /// Adds one check.
    pub fn add(&mut self, result: Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => self.fail(format!("{error:#}")),
        }
    }

    /// One failure.
    pub fn fault(text: String) -> Self {
        let mut tally = Tally::default();
        tally.fail(text);
        tally
    }

    /// Adds to the summary.
    pub fn note(mut self, text: String) -> Self {
        self.notes.push(text);
        self
    }

    /// Adds one failure.
    pub fn fail(&mut self, text: String) {
        self.failed += 1;
        self.faults.push(text);
    }

    /// Takes one line of the output of `cargo test`.
    pub fn read(&mut self, line: &str) {
        let line = line.trim();
        if let Some(suite) = line.strip_prefix("Running ") {
            suite.clone_into(&mut self.suite);
        } else if let Some(package) = line.strip_prefix("Doc-tests ") {
            self.suite = format!("documentation of {package}");
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.result(result);
        }
    }

    /// Takes `ok. 31 passed; 0 failed; 0 ignored; ...`.
    fn result(&mut self, result: &str) {
        let (Some(passed), Some(failed), Some(ignored)) = (
            number(result, "passed"),
            number(result, "failed"),
            number(result, "ignored"),
        ) else {
            return self.fail(format!(
                "cannot read the results of {}: {result}",
                self.suite
            ));
        };
        self.passed += passed;
        self.failed += failed;
        self.ignored += ignored;
        // Every file in tests/ is there for its tests.
        if passed + failed == 0 && self.suite.starts_with("tests/") {
            self.fail(format!("{} ran no tests", self.suite));
        }
    }

    /// Takes the end of `cargo test`.
    pub fn end(&mut self, success: bool) {
        if self.passed + self.failed == 0 && success {
            self.fail("no tests ran".to_owned());
        }
        if !success && self.failed == 0 {
            self.fail("cargo test failed before all results were in".to_owned());
        }
    }
}

/// The number before a word, as in `31 passed;`.
fn number(text: &str, word: &str) -> Option<u32> {
    let words: Vec<_> = text
        .split([' ', ';'])
        .filter(|word| !word.is_empty())
        .collect();
    let pair = words.windows(2).find(|pair| pair.last() == Some(&word))?;
    pair.first()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str, success: bool) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally.end(success);
        tally
    }

    const OK: &str = "     Running unittests src/lib.rs (target/debug/deps/a-1)

running 2 tests
test one ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s
     Running tests/more.rs (target/debug/deps/b-1)
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
   Doc-tests a
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";

    #[test]
    fn suites_add_up() {
        let tally = tally(OK, true);
        assert_eq!((tally.passed, tally.failed, tally.ignored), (5, 0, 1));
        assert_eq!(tally.faults, Vec::<String>::new());
    }

    #[test]
    fn a_file_of_tests_without_tests_is_a_fault() {
        let tally = tally(&OK.replace("3 passed", "0 passed"), true);
        assert_eq!((tally.passed, tally.failed), (2, 1));
        assert!(
            tally.faults[0].contains("tests/more.rs"),
            "{:?}",
            tally.faults
        );
    }

    #[test]
    fn no_tests_at_all_is_a_fault() {
        assert_eq!(tally("", true).failed, 1);
    }

    #[test]
    fn failing_tests_are_counted_once() {
        let output = "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured";
        let failing = tally(output, false);
        assert_eq!((failing.passed, failing.failed), (4, 2));
    }

    #[test]
    fn an_error_of_the_compiler_or_a_crash_is_a_failure() {
        assert_eq!(tally("error[E0583]: file not found", false).failed, 1);
        let crashed = tally(OK, false);
        assert_eq!((crashed.passed, crashed.failed), (5, 1));
    }

    #[test]
    fn results_that_cannot_be_read_are_a_fault() {
        assert_eq!(tally("test result: fine", true).failed, 1);
    }
}
