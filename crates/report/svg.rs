//! Writes SVG.

use std::fmt::{Display, Write};

/// The elements of a picture, in drawing order.
#[derive(Debug, Default)]
pub(crate) struct Svg(String);

/// Escapes text for an element or a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let safe = |c: char| match c {
        '&' => "&amp;".to_string(),
        '<' => "&lt;".to_string(),
        '>' => "&gt;".to_string(),
        '"' => "&quot;".to_string(),
        // XML 1.0 allows no other control characters.
        c if c.is_control() && c != '\n' && c != '\t' => String::new(),
        c => c.to_string(),
    };
    text.chars().map(safe).collect()
}

/// A coordinate rounded to a tenth of a pixel.
fn coordinate(x: f64) -> impl Display {
    (x * 10.0).round() / 10.0
}

impl Svg {
    /// A straight line.
    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(coordinate);
        self.push(format_args!(
            r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#
        ));
    }

    /// A polyline through points; nothing for fewer than two.
    pub(crate) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        if points.len() < 2 {
            return;
        }
        let mut list = String::new();
        for (x, y) in points {
            let _ = write!(list, "{},{} ", coordinate(*x), coordinate(*y));
        }
        self.push(format_args!(
            r#"<polyline class="{class}" points="{}"/>"#,
            list.trim_end()
        ));
    }

    /// A dot with a tooltip.
    pub(crate) fn dot(&mut self, class: &str, at: (f64, f64), radius: f64, title: &str) {
        let (x, y) = (coordinate(at.0), coordinate(at.1));
        let title = escape(title);
        self.push(format_args!(
            r#"<circle class="{class}" cx="{x}" cy="{y}" r="{radius}"><title>{title}</title></circle>"#
        ));
    }

    /// Text, anchored at its start, middle or end.
    pub(crate) fn text(&mut self, class: &str, at: (f64, f64), anchor: &str, text: &str) {
        let (x, y) = (coordinate(at.0), coordinate(at.1));
        let text = escape(text);
        self.push(format_args!(
            r#"<text class="{class}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// Text rotated to read upwards.
    pub(crate) fn vertical_text(&mut self, class: &str, at: (f64, f64), text: &str) {
        let (x, y) = (coordinate(at.0), coordinate(at.1));
        let text = escape(text);
        self.push(format_args!(
            r#"<text class="{class}" transform="translate({x} {y}) rotate(-90)" text-anchor="middle">{text}</text>"#
        ));
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "{element}");
    }

    /// The whole document.
    pub(crate) fn finish(
        self,
        (width, height): (f64, f64),
        title: &str,
        about: &str,
        style: &str,
    ) -> String {
        let (title, about) = (escape(title), escape(about));
        let body = self.0;
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title about">
<title id="title">{title}</title>
<desc id="about">{about}</desc>
<style>{style}</style>
<rect class="ground" width="{width}" height="{height}"/>
{body}</svg>
"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut svg = Svg::default();
        svg.text("a", (1.04, 2.0), "start", "<b>&\"\u{7}");
        let all = svg.finish((10.0, 10.0), "t", "d", "");
        assert!(
            all.contains(r#"x="1" y="2" text-anchor="start">&lt;b&gt;&amp;&quot;</text>"#),
            "{all}"
        );
    }
}
