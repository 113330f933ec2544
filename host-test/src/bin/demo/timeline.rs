//! A run as a picture: who led when, who was killed or frozen, and whose writes were
//! refused. One SVG file that needs nothing else.

use crate::succession::{CANDIDATES, Event, LENGTH, Outcome, What, name_of};
use std::fmt::Write as _;
use std::time::Duration;

const WIDTH: f64 = 1_280.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 104.0;
const LANE: f64 = 64.0;
const BAR: f64 = 26.0;
const LOG_HEIGHT: f64 = 34.0;
/// How somebody who stands still looks, and somebody who is wrong about leading.
const FROZEN: &str = "class=\"i\" style=\"fill:url(#ice)\"";
const WRONG: &str = "class=\"wrong\"";
/// Seconds between two marks of the axis.
const MARK_S: u64 = 10;

/// Told apart by people who see colours differently, on white and on black.
const COLORS: [&str; CANDIDATES] = ["#3b82d6", "#e08a1e", "#1fa07a", "#b565c9"];

/// Classes rather than custom properties, which not every viewer of pictures knows.
const STYLE: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\
.t{font-size:21px;font-weight:600}.s{font-size:12px}.n{font-weight:600}\
.x{stroke-width:2.4;stroke-linecap:round;fill:none}\
.kx{stroke-width:2;stroke-linecap:round}\
.i{stroke-width:2;stroke-linecap:round;fill:none}\
.c{fill:none;stroke-width:1.5;stroke-dasharray:2 4}\
.wrong{fill:none;stroke-width:1.5}.r{stroke-width:1.3}.paper{fill:#fff}\
text{fill:#1c2530}.f{fill:#5f6b78}.l{stroke:#e4e8ed}.x{stroke:#d1242f}.k{fill:#d1242f}\
.kx{stroke:#fff}.i{stroke:#3b9ad6}.w{fill:#3b9ad6}.c{stroke:#5f6b78}\
.wrong{stroke:#d1242f}.r{stroke:#1c2530}\
@media(prefers-color-scheme:dark){\
.paper{fill:#12171d}text{fill:#e8edf2}.f{fill:#95a1ae}.l{stroke:#28313b}\
.x{stroke:#ff6b6b}.k{fill:#ff6b6b}.kx{stroke:#12171d}.i{stroke:#7cc8f5}.w{fill:#7cc8f5}\
.c{stroke:#95a1ae}.wrong{stroke:#ff6b6b}.r{stroke:#e8edf2}}";

/// What to draw.
pub struct Timeline<'a> {
    outcome: &'a Outcome,
}

/// A stretch of one lane.
struct Span {
    candidate: usize,
    from: Duration,
    to: Duration,
}

impl<'a> Timeline<'a> {
    /// The picture of a run.
    pub fn of(outcome: &'a Outcome) -> Self {
        Self { outcome }
    }

    /// The file.
    pub fn svg(&self) -> String {
        let log_top = TOP + LANE * CANDIDATES as f64 + 6.0;
        let axis = log_top + LOG_HEIGHT + 12.0;
        let height = axis + 84.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             role=\"img\">\n<title>Who led when</title>\n<style>{STYLE}</style>\n\
             <defs><pattern id=\"ice\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><rect width=\"2.4\" height=\"7\" \
             class=\"w\"/></pattern></defs>\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" class=\"paper\"/>\n"
        );
        self.heading(&mut svg);
        self.axis(&mut svg, axis);
        self.lanes(&mut svg);
        self.log(&mut svg, log_top);
        self.take_overs(&mut svg);
        self.marks(&mut svg);
        legend(&mut svg, axis + 58.0);
        svg.push_str("</svg>\n");
        svg
    }

    fn heading(&self, svg: &mut String) {
        let count = |what| self.events(what).count();
        text(svg, LEFT, 40.0, "t", "One lease, one log, no server");
        let told = format!(
            "{} terms, {} records, {} writes of former leaders refused, nothing lost or doubled",
            count(What::Led),
            count(What::Appended),
            count(What::Refused)
        );
        let told = match self.outcome.is_clean() {
            true => told,
            false => "The log is not what it should be.".to_owned(),
        };
        text(svg, LEFT, 64.0, "f", &told);
    }

    fn axis(&self, svg: &mut String, y: f64) {
        for second in (0..=LENGTH.as_secs()).step_by(MARK_S as usize) {
            let x = x_of(Duration::from_secs(second));
            let top = TOP - 10.0;
            let _ = writeln!(
                svg,
                "<path class=\"l\" d=\"M{x:.1} {top:.1}V{y:.1}\"/>\
                 <text class=\"f s\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second} \
                 s</text>",
                y + 18.0
            );
        }
    }

    fn events(&self, what: What) -> impl Iterator<Item = &Event> {
        self.outcome
            .events
            .iter()
            .filter(move |event| event.what == what)
    }

    /// From each event of one kind to the next of others, for the same candidate.
    fn spans(&self, from: What, to: &[What]) -> Vec<Span> {
        let spans = self.outcome.events.iter().enumerate();
        let spans = spans.filter(|(_, event)| event.what == from);
        let spans = spans.map(|(place, event)| {
            let later = self.outcome.events.get(place + 1..).unwrap_or_default();
            let end = later
                .iter()
                .find(|later| later.candidate == event.candidate && to.contains(&later.what));
            Span {
                candidate: event.candidate,
                from: event.at,
                to: end.map_or(LENGTH, |end| end.at.min(LENGTH)),
            }
        });
        spans.collect()
    }

    fn lanes(&self, svg: &mut String) {
        for (candidate, color) in COLORS.iter().enumerate() {
            let y = y_of(candidate);
            let name = escaped(&name_of(candidate));
            let _ = writeln!(
                svg,
                "<text class=\"n\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" \
                 style=\"fill:{color}\">{name}</text>",
                LEFT - 16.0,
                y + 4.5
            );
        }
        // Alive: a line. Dead: none.
        for span in self.spans(What::Started, &[What::Killed]) {
            let (y, color) = (y_of(span.candidate), COLORS[span.candidate]);
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {y:.1}H{:.1}\" stroke=\"{color}\" stroke-width=\"2\" \
                 opacity=\".35\"/>",
                x_of(span.from),
                x_of(span.to)
            );
        }
        let ends = [What::Killed, What::Frozen, What::Resigned];
        for span in self.spans(What::Led, &ends) {
            bar(svg, &span, &format!("fill=\"{}\"", COLORS[span.candidate]));
        }
        for span in self.spans(What::Frozen, &[What::Woke]) {
            bar(svg, &span, FROZEN);
        }
        // Awake, and wrong about who leads.
        for span in self.spans(What::Woke, &[What::Resigned, What::Killed]) {
            bar(svg, &span, WRONG);
        }
    }

    fn log(&self, svg: &mut String, top: f64) {
        let _ = writeln!(
            svg,
            "<text class=\"n\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">the log</text>",
            LEFT - 16.0,
            top + LOG_HEIGHT / 2.0 + 4.5
        );
        for (candidate, color) in COLORS.iter().enumerate() {
            let mut ticks = String::new();
            for event in self.events(What::Appended) {
                if event.candidate == candidate && event.at <= LENGTH {
                    let _ = write!(ticks, "M{:.1} {top:.1}v{LOG_HEIGHT:.1}", x_of(event.at));
                }
            }
            let _ = writeln!(
                svg,
                "<path d=\"{ticks}\" stroke=\"{color}\" stroke-width=\"1.3\"/>"
            );
        }
    }

    fn take_overs(&self, svg: &mut String) {
        for change in &self.outcome.take_overs {
            let (x1, y1) = (x_of(change.from.0), y_of(change.from.1));
            let (x2, y2) = (x_of(change.to.0), y_of(change.to.1));
            let middle = (x1 + x2) / 2.0;
            let _ = writeln!(
                svg,
                "<path class=\"c\" d=\"M{x1:.1} {y1:.1}C{middle:.1} {y1:.1} {middle:.1} {y2:.1} \
                 {x2:.1} {y2:.1}\"/>"
            );
            let label = format!("{:.1} s", change.time().as_secs_f64());
            let _ = writeln!(
                svg,
                "<text class=\"s f\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                x2 - 5.0,
                // On the side from which the curve does not come.
                if y1 < y2 { y2 + 17.0 } else { y2 - 8.0 },
                escaped(&label)
            );
        }
    }

    fn marks(&self, svg: &mut String) {
        for event in self
            .outcome
            .events
            .iter()
            .filter(|event| event.at <= LENGTH)
        {
            let (x, y) = (x_of(event.at), y_of(event.candidate));
            match event.what {
                What::Killed => killed(svg, x, y),
                What::Frozen => frozen(svg, x, y - BAR / 2.0 - 9.0),
                What::Woke => woke(svg, x, y - BAR / 2.0 - 9.0),
                What::Refused => refused(svg, x, y),
                What::Led | What::Resigned | What::Appended | What::Started => {}
            }
        }
    }
}

fn x_of(at: Duration) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * at.as_secs_f64() / LENGTH.as_secs_f64()
}

fn y_of(candidate: usize) -> f64 {
    TOP + LANE * (candidate as f64 + 0.5)
}

fn bar(svg: &mut String, span: &Span, look: &str) {
    let (x, y) = (x_of(span.from), y_of(span.candidate) - BAR / 2.0);
    let width = (x_of(span.to) - x).max(1.5);
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"4\" \
         {look}/>"
    );
}

fn killed(svg: &mut String, x: f64, y: f64) {
    let _ = writeln!(
        svg,
        "<circle class=\"k\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"/><path class=\"kx\" \
         d=\"M{:.1} {:.1}l6 6m0 -6l-6 6\"/>",
        x - 3.0,
        y - 3.0
    );
}

fn frozen(svg: &mut String, x: f64, y: f64) {
    let _ = writeln!(
        svg,
        "<path class=\"i\" d=\"M{x:.1} {:.1}v12M{:.1} {:.1}l10.4 6M{:.1} {:.1}l10.4 -6\"/>",
        y - 6.0,
        x - 5.2,
        y - 3.0,
        x - 5.2,
        y + 3.0
    );
}

fn woke(svg: &mut String, x: f64, y: f64) {
    let _ = writeln!(
        svg,
        "<path class=\"w\" d=\"M{:.1} {:.1}l10 6l-10 6z\"/>",
        x - 4.0,
        y - 6.0
    );
}

fn refused(svg: &mut String, x: f64, y: f64) {
    let _ = writeln!(
        svg,
        "<path class=\"x\" d=\"M{:.1} {:.1}l9 9m0 -9l-9 9\"/>",
        x - 4.5,
        y - 4.5
    );
}

fn legend(svg: &mut String, y: f64) {
    let mut x = LEFT;
    let mut entry = |svg: &mut String, width: f64, said: &str, draw: &dyn Fn(&mut String, f64)| {
        draw(svg, x);
        text(svg, x + 22.0, y + 4.5, "s", said);
        x += width;
    };
    let sample = |look: String| {
        move |svg: &mut String, x: f64| {
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"18\" height=\"14\" rx=\"3\" \
                 {look}/>",
                x - 2.0,
                y - 7.0
            );
        }
    };
    entry(
        svg,
        90.0,
        "leads",
        &sample(format!("fill=\"{}\"", COLORS[0])),
    );
    entry(svg, 110.0, "stands still", &sample(FROZEN.to_owned()));
    entry(
        svg,
        190.0,
        "believes that it still leads",
        &sample(WRONG.to_owned()),
    );
    entry(svg, 80.0, "killed", &|svg, x| killed(svg, x + 7.0, y));
    entry(svg, 84.0, "frozen", &|svg, x| frozen(svg, x + 7.0, y));
    entry(svg, 98.0, "wakes up", &|svg, x| woke(svg, x + 5.0, y));
    entry(svg, 136.0, "write refused", &|svg, x| {
        refused(svg, x + 7.0, y)
    });
    entry(svg, 170.0, "time to the next leader", &|svg, x| {
        let _ = writeln!(svg, "<path class=\"c\" d=\"M{:.1} {y:.1}h18\"/>", x - 2.0);
    });
    text(svg, x + 16.0, y + 4.5, "s", "| records, by their writers");
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, said: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        escaped(said)
    );
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, char| {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(char),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("<a&\"b\">"), "&lt;a&amp;&quot;b&quot;&gt;");
    }
}
