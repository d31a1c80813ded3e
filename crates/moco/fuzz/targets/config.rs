//! A configuration of one's own, with one setting from the command line behind its last line.

#![no_main]

#[path = "../../tests/it/mutations/config.rs"]
mod config;

use config::{FACTS, holds_together};
use moco::plan::{parse_run, parse_tree, resolve, set_value};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let (file, given) = text.rsplit_once('\n').unwrap_or((text, ""));
    if let Ok(plan) = parse_run(text) {
        holds_together(&plan, FACTS[0].images);
    }
    let Ok(mut tree) = parse_tree(file) else { return };
    if set_value(&mut tree, "data.path=photos").is_err() {
        return;
    }
    let before = tree.clone();
    if let Err(error) = set_value(&mut tree, given) {
        assert!(!error.to_string().contains('\n'), "more than a line: {error}");
        assert_eq!(tree, before, "changed by what was refused");
    }
    for facts in &FACTS {
        if let Ok(resolved) = resolve(&tree, facts) {
            holds_together(&resolved.config, facts.images);
        }
    }
});
