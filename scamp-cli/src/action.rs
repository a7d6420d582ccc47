//! How actions are written on the command line.

use scamp_proto::service;

/// `sector:name.space.verb~version`; the sector defaults to `main`, the version to 1.
///
/// The sector narrows a search in the directory; it does not travel (section 3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Action {
    pub(crate) sector: String,
    pub(crate) name: String,
    pub(crate) version: u32,
    /// Whether the sector was written, and not only is the default.
    pub(crate) has_sector: bool,
}

impl Action {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (sector, rest) = text.split_once(':').unwrap_or(("main", text));
        if sector.is_empty() {
            return Err("the sector before the colon is empty".to_owned());
        }
        let action = service::Action::parse(rest).map_err(|error| error.to_string())?;
        Ok(Self {
            sector: sector.to_owned(),
            name: action.name().to_owned(),
            version: action.version(),
            has_sector: text.contains(':'),
        })
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}~{}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// cli.md: the syntax of actions and its defaults.
    #[test]
    fn syntax() {
        let parse = |text| Action::parse(text).map(|a| (a.sector, a.name, a.version));
        let is = |sector: &str, name: &str, version| Ok((sector.into(), name.into(), version));
        assert_eq!(parse("A.b"), is("main", "A.b", 1));
        assert_eq!(parse("web:A.b.c~3"), is("web", "A.b.c", 3));
        for bad in ["", "A", "A.b~", "A.b~0", ":A.b", "a:b:c.d", "A.b~x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
