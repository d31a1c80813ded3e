//! What must hold of a plan, whatever configuration it came from.

use moco::config::DataFacts;
use moco::plan::{Plan, parse_run};

/// A small labelled data set and a large one without labels.
pub const FACTS: [DataFacts; 2] = [
    DataFacts { images: 50_000, width: 32, height: 32, labelled: true },
    DataFacts { images: 1_281_167, width: 500, height: 375, labelled: false },
];

/// A configuration that was accepted comes back from its own text.
pub fn holds_together(config: &Plan, images: usize) {
    if let Ok(text) = config.to_toml() {
        let again = parse_run(&text).expect("what it writes, it reads");
        assert_eq!(again.to_toml().expect("written once already"), text);
    }
    assert!(!config.views().is_empty());
    let _ = (config.check_memory(images), config.check_encoder_memory());
}
