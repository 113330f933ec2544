//! What people see: lines that stay, and in a terminal one below them that is
//! rewritten. In a pipe, that one is printed now and then.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the status is printed where it cannot be rewritten.
const PIPE_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is rewritten where it can.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(100);

/// How a piece of text is shown.
#[derive(Clone, Copy, Debug)]
pub enum Tone {
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
    /// Something happened.
    Event,
    /// Beside the point.
    Faint,
    /// A heading.
    Strong,
}

/// Standard output.
pub struct Screen {
    terminal: bool,
    colors: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    status_shown: bool,
    status_at: Option<Instant>,
}

impl Screen {
    /// The screen of this process.
    pub fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colors = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            terminal,
            colors,
            state: Mutex::default(),
        }
    }

    /// Text in a tone.
    pub fn toned(&self, tone: Tone, text: &str) -> String {
        if !self.colors {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "1;31",
            Tone::Event => "33",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Prints a line that stays.
    pub fn line(&self, text: &str) {
        self.print(|state| {
            let clear = if std::mem::take(&mut state.status_shown) {
                "\r\x1b[2K"
            } else {
                ""
            };
            format!("{clear}{text}\n")
        });
    }

    /// Shows how things are, if it is time to.
    pub fn status(&self, text: impl FnOnce() -> String) {
        let interval = if self.terminal {
            TERMINAL_INTERVAL
        } else {
            PIPE_INTERVAL
        };
        self.print(|state| {
            if state.status_at.is_some_and(|at| at.elapsed() < interval) {
                return String::new();
            }
            state.status_at = Some(Instant::now());
            match self.terminal {
                true => {
                    state.status_shown = true;
                    format!("\r\x1b[2K{}", text())
                }
                false => format!("{}\n", text()),
            }
        });
    }

    fn print(&self, text: impl FnOnce(&mut State) -> String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = text(&mut state);
        let mut out = std::io::stdout().lock();
        // Whoever closed the pipe does not want to see more; the exit status still tells.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
