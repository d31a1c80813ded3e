//! A configuration of one's own, with one setting from the command line behind its last line.

#![no_main]

use moco::config::DataFacts;
use moco::plan::{Plan, parse_run, parse_tree, resolve, set_value};

const SMALL: DataFacts = DataFacts { images: 50_000, width: 32, height: 32, labelled: true };
const LARGE: DataFacts = DataFacts { images: 1_281_167, width: 500, height: 375, labelled: false };

/// A plan that was accepted comes back from its own text.
fn holds_together(plan: &Plan, images: usize) {
    if let Ok(text) = plan.to_toml() {
        let again = parse_run(&text).expect("what it writes, it reads");
        assert_eq!(again.to_toml().expect("written once already"), text);
    }
    assert!(!plan.views().is_empty());
    let _ = (plan.check_memory(images), plan.check_encoder_memory());
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let (file, given) = text.rsplit_once('\n').unwrap_or((text, ""));
    if let Ok(plan) = parse_run(text) {
        holds_together(&plan, SMALL.images);
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
    for facts in [SMALL, LARGE] {
        match resolve(&tree, &facts) {
            Ok(resolved) => holds_together(&resolved.config, facts.images),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
