//! The text of a view.

#![no_main]

use moco_data::View;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(view) = text.parse::<View>() {
        let again: View = view.to_string().parse().expect("what it prints, it reads");
        assert_eq!(again.to_string(), view.to_string());
    }
});
