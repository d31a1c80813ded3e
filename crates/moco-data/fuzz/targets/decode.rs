//! Encoded images, of the format that their first bytes tell.

#![no_main]

#[path = "../feed.rs"]
mod feed;

libfuzzer_sys::fuzz_target!(init: feed::allow_caught_panics(), |data: &[u8]| feed::feed("image.png", data));
