//! Bars, as SVG that needs nothing else.

use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const LABELS: f64 = 230.0;
const VALUES: f64 = 150.0;
const LINE: f64 = 24.0;
const TOP: f64 = 86.0;

const STYLE: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1c2530}\
.t{font-size:19px;font-weight:600}.n{font-weight:600}.f{fill:#5f6b78}.paper{fill:#fff}\
.b{fill:#9db4cc}.o{fill:#1f7a5c}\
@media(prefers-color-scheme:dark){.paper{fill:#12171d}text{fill:#e8edf2}.f{fill:#95a1ae}\
.b{fill:#4d6580}.o{fill:#3fb68b}}";

/// One bar.
pub struct Bar {
    /// What stands before it.
    pub label: String,
    /// Its length.
    pub value: f64,
    /// What stands behind it.
    pub text: String,
    /// Whether it is ours.
    pub is_ours: bool,
}

/// Bars under a heading.
pub struct Group {
    /// The heading.
    pub name: String,
    /// The bars, drawn to one scale.
    pub bars: Vec<Bar>,
}

/// A picture of some groups, each to a scale of its own.
pub fn bars(title: &str, subtitle: &str, groups: &[Group]) -> String {
    let lines: usize = groups.iter().map(|group| group.bars.len() + 2).sum();
    let height = TOP + lines as f64 * LINE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" class=\"paper\"/>\n",
        title = escaped(title)
    );
    text(&mut svg, 24.0, 36.0, "t", title);
    text(&mut svg, 24.0, 60.0, "f", subtitle);
    let mut y = TOP;
    for group in groups {
        text(&mut svg, 24.0, y + 16.0, "n", &group.name);
        y += LINE;
        let values = group.bars.iter().map(|bar| bar.value);
        let most = values.fold(f64::MIN_POSITIVE, f64::max);
        for bar in &group.bars {
            let length = bar.value / most * (WIDTH - LABELS - VALUES);
            let class = if bar.is_ours { "o" } else { "b" };
            text(&mut svg, 36.0, y + 16.0, "f", &bar.label);
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{:.0}\" width=\"{length:.1}\" \
                 height=\"{:.0}\" rx=\"2\"/>",
                y + 4.0,
                LINE - 8.0
            );
            text(&mut svg, LABELS + length + 8.0, y + 16.0, "f", &bar.text);
            y += LINE;
        }
        y += LINE;
    }
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, said: &str) {
    let said = escaped(said);
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\">{said}</text>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width_and_text_is_escaped() {
        let bar = |value| Bar {
            label: "a<b".to_owned(),
            value,
            text: String::new(),
            is_ours: false,
        };
        let group = Group {
            name: "g".to_owned(),
            bars: vec![bar(1.0), bar(2.0)],
        };
        let svg = bars("t", "s", &[group]);
        let width = WIDTH - LABELS - VALUES;
        assert!(svg.contains(&format!("width=\"{width:.1}\"")), "{svg}");
        assert!(
            svg.contains(&format!("width=\"{:.1}\"", width / 2.0)),
            "{svg}"
        );
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"), "{svg}");
    }
}
