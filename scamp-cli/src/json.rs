//! JSON for standard output: one object, one line, nothing but printable ASCII.

use std::fmt::Write as _;

/// A JSON object being written; its members keep their order.
#[derive(Debug)]
pub(crate) struct Object {
    out: String,
}

impl Default for Object {
    fn default() -> Self {
        Self {
            out: "{".to_owned(),
        }
    }
}

impl Object {
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.raw(name, &string(text));
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.raw(name, &value.to_string());
    }

    /// A number that is finite; a whole one has no fraction.
    pub(crate) fn float(&mut self, name: &str, value: f64) {
        self.raw(name, &value.to_string());
    }

    /// A list of numbers.
    pub(crate) fn numbers(&mut self, name: &str, values: &[u64]) {
        let values: Vec<String> = values.iter().map(u64::to_string).collect();
        self.raw(name, &format!("[{}]", values.join(",")));
    }

    /// A text, or `null`.
    pub(crate) fn maybe(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.null(name),
        }
    }

    /// A list of objects that have ended.
    pub(crate) fn objects(&mut self, name: &str, objects: &[String]) {
        self.raw(name, &format!("[{}]", objects.join(",")));
    }

    pub(crate) fn truth(&mut self, name: &str, value: bool) {
        self.raw(name, if value { "true" } else { "false" });
    }

    pub(crate) fn null(&mut self, name: &str) {
        self.raw(name, "null");
    }

    /// A span of time, in seconds.
    pub(crate) fn seconds(&mut self, name: &str, span: std::time::Duration) {
        self.raw(name, &format!("{:.6}", span.as_secs_f64()));
    }

    /// A list of texts.
    pub(crate) fn texts<'a>(&mut self, name: &str, texts: impl IntoIterator<Item = &'a str>) {
        let texts: Vec<String> = texts.into_iter().map(string).collect();
        self.raw(name, &format!("[{}]", texts.join(",")));
    }

    /// A value that is JSON already, from wherever it came.
    pub(crate) fn raw(&mut self, name: &str, json: &str) {
        if self.out.len() > 1 {
            self.out.push(',');
        }
        self.out.push_str(&string(name));
        self.out.push(':');
        compact(json, &mut self.out);
    }

    pub(crate) fn end(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

/// Valid JSON in one line of printable ASCII; the value is the same (HD-13).
pub(crate) fn one_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    compact(json, &mut out);
    out
}

/// A JSON string.
pub(crate) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Appends JSON without the white space between its parts, and with `\u` for what is not ASCII.
fn compact(json: &str, out: &mut String) {
    let mut in_string = false;
    let mut escaped = false;
    for c in json.chars() {
        match c {
            ' ' | '\t' | '\r' | '\n' if !in_string => continue,
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && c == '\\' && !escaped;
        match c {
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HD-13: other people's JSON stays in its line and off the terminal's controls.
    #[test]
    fn other_peoples_json() {
        let given =
            "{ \"a b\\\" c\" :\r\n [1, \"x\\\\\" ],\t\"\u{9b}\u{1F600}\u{7f}\": \"\\u001b\"}\n";
        let line = one_line(given);
        assert_eq!(
            line,
            r#"{"a b\" c":[1,"x\\"],"\u009b\ud83d\ude00\u007f":"\u001b"}"#
        );
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(&line), value(given));
    }

    #[test]
    fn objects() {
        let mut object = Object::default();
        object.text("t", "a\"\n\u{e9}");
        object.number("n", u64::MAX);
        object.null("z");
        object.truth("b", true);
        object.texts("l", ["x", "y"]);
        object.float("f", 1.0);
        object.numbers("m", &[1, 2]);
        object.maybe("o", None);
        object.objects("p", &[Object::default().end()]);
        assert_eq!(
            object.end(),
            r#"{"t":"a\"\n\u00e9","n":18446744073709551615,"z":null,"b":true,"l":["x","y"],"f":1,"m":[1,2],"o":null,"p":[{}]}"#
        );
    }
}
