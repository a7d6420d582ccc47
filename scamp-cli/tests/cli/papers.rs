//! `completions` and `man`.

use crate::support::run;

/// cli.md: every shell has a script, every verb a page.
#[test]
fn papers_are_printed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(["completions", shell]);
        assert!(script.good().contains("fingerprint"), "{shell}");
    }
    assert!(run(["man"]).good().contains(".TH scamp"));
    assert!(run(["man", "dump"]).good().contains("max\\-packet\\-body"));
    run(["man", "nothing"]).failed(2, "nothing");
    run(["completions", "nothing"]).failed(2, "nothing");
    assert!(run(["--version"]).good().starts_with("scamp "));
    assert!(run(["--help"]).good().contains("130  interrupted"));
}
