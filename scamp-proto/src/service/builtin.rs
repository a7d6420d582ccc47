//! Actions that every service offers.

use alloc::format;
use alloc::string::{String, ToString};

use super::{Action, Actions};

/// An action that needs no handler (V-8).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Builtin {
    /// How many requests are in handlers.
    QueueDepth,
    /// What the service offers: what is `public`, or all that is not `secret`.
    Documentation {
        /// Whether actions without `public` are shown, too.
        all: bool,
    },
}

impl Builtin {
    /// The body of the reply.
    pub(super) fn answer<H>(self, actions: &Actions<H>, active: usize) -> String {
        match self {
            Self::QueueDepth => format!("{{\"queue_depth\":{active}}}"),
            Self::Documentation { all } => {
                let shown = |action: &&Action| {
                    !action.has_flag("secret") && (all || action.has_flag("public"))
                };
                let mut json = String::from("{\"actions\":[");
                for (number, action) in actions.iter().filter(shown).enumerate() {
                    if number > 0 {
                        json.push(',');
                    }
                    document(action, &mut json);
                }
                json.push_str("]}");
                json
            }
        }
    }
}

fn document(action: &Action, json: &mut String) {
    json.push_str("{\"name\":");
    json.push_str(&quoted(action.name()));
    json.push_str(&format!(",\"version\":{},\"flags\":{{", action.version()));
    for (number, flag) in action.all_flags().enumerate() {
        if number > 0 {
            json.push(',');
        }
        json.push_str(&quoted(&flag));
        json.push_str(":1");
    }
    json.push_str("},\"html\":");
    json.push_str(&quoted(action.documentation()));
    json.push('}');
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn actions() -> Actions<u8> {
        let mut actions = Actions::default();
        for action in [
            Action::parse("A.shown")
                .map(|action| action.flags("public,t5,read").html("<b>\"x\"</b>")),
            Action::parse("A.hidden").map(|action| action.flags("public,secret")),
            Action::parse("A.quiet~3"),
        ] {
            let added = actions.insert(action.expect("a name"), 0);
            added.expect("its first");
        }
        actions
    }

    fn names(builtin: Builtin) -> Value {
        let text = builtin.answer(&actions(), 7);
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let names = json["actions"].as_array().expect("an array").iter();
        names.map(|action| action["name"].clone()).collect()
    }

    /// V-8: what is documented, and how.
    #[test]
    fn documentation() {
        assert_eq!(
            names(Builtin::Documentation { all: false }),
            json!(["A.shown"])
        );
        assert_eq!(
            names(Builtin::Documentation { all: true }),
            json!(["A.quiet", "A.shown"])
        );
        let text = Builtin::Documentation { all: false }.answer(&actions(), 0);
        let json: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            json["actions"][0],
            json!({
                "name": "A.shown",
                "version": 1,
                "flags": {"public": 1, "read": 1, "t5": 1},
                "html": "<b>\"x\"</b>",
            })
        );
        let none = Builtin::Documentation { all: true }.answer(&Actions::<u8>::default(), 0);
        assert_eq!(none, "{\"actions\":[]}");
    }

    /// V-8: the requests in handlers, which this one is not.
    #[test]
    fn queue_depth() {
        let text = Builtin::QueueDepth.answer(&actions(), 7);
        assert_eq!(text, json!({"queue_depth": 7}).to_string());
    }
}
