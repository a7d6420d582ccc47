//! `completions` and `man`.

use crate::support::run;

/// cli.md: every verb has a page, and what is no shell has no script.
#[test]
fn papers_are_printed() {
    assert!(run(["man"]).good().contains(".TH scamp"));
    assert!(run(["man", "dump"]).good().contains("max\\-packet\\-body"));
    run(["man", "nothing"]).failed(2, "nothing");
    run(["completions", "nothing"]).failed(2, "nothing");
    assert!(run(["--version"]).good().starts_with("scamp "));
    assert!(run(["--help"]).good().contains("130  interrupted"));
}
