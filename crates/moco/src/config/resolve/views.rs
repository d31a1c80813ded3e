//! The augmentation of each method, as published.

use super::SMALL;

/// The views of a method for square images of `size` pixels. Small images go without blur, as in
/// the CIFAR-10 settings of these papers.
pub(super) fn views(method: &str, size: usize) -> Vec<String> {
    let small = size <= SMALL;
    let end = format!("normalize({})", normalization(small));
    let both = |text: String| vec![text.clone(), text];
    let blur = |p: &str| if small { String::new() } else { format!("blur(0.1..2; p={p}) ") };
    match method {
        // CIFAR-10 goes without the flip, in the paper's code.
        "instdisc" if small => {
            vec![format!("crop({size}, 0.2..1) jitter(0.4,0.4,0.4,0.4) gray(p=0.2) {end}")]
        }
        "instdisc" => {
            vec![format!("crop({size}, 0.2..1) gray(p=0.2) jitter(0.4,0.4,0.4,0.4) flip {end}")]
        }
        "invaspread" => {
            both(format!("crop({size}, 0.2..1) jitter(0.4,0.4,0.4,0.4) gray(p=0.2) flip {end}"))
        }
        "cmc" | "cpc" | "mae" => vec![format!("crop({size}, 0.2..1) flip {end}")],
        "moco-v1" if !small => {
            both(format!("crop({size}, 0.2..1) gray(p=0.2) jitter(0.4,0.4,0.4,0.4) flip {end}"))
        }
        "simclr" | "simclr-v2" if !small => both(format!(
            "crop({size}, 0.08..1) flip jitter(0.8,0.8,0.8,0.2; p=0.8) gray(p=0.2) {}{end}",
            blur("0.5")
        )),
        "byol" | "moco-v3" => {
            let view = |blur: &str, solarize: &str| {
                format!(
                    "crop({size}, 0.08..1) flip jitter(0.4,0.4,0.2,0.1; p=0.8) gray(p=0.2) \
                     {blur}{solarize}{end}"
                )
            };
            vec![view(&blur("1"), ""), view(&blur("0.1"), "solarize(128; p=0.2) ")]
        }
        _ if small => both(format!(
            "crop({size}, 0.08..1) flip jitter(0.4,0.4,0.4,0.1; p=0.8) gray(p=0.2) {end}"
        )),
        _ => both(format!(
            "crop({size}, 0.2..1) jitter(0.4,0.4,0.4,0.1; p=0.8) gray(p=0.2) {}flip {end}",
            blur("0.5")
        )),
    }
}

/// Resize to 8/7 of the size and cut out the middle, as in 256 and 224; small images whole.
pub(super) fn eval_view(size: usize) -> String {
    let end = format!("normalize({})", normalization(size <= SMALL));
    if size <= SMALL {
        format!("resize({size}) center({size}) {end}")
    } else {
        format!("resize({}) center({size}) {end}", size * 8 / 7)
    }
}

fn normalization(small: bool) -> &'static str {
    if small { "cifar10" } else { "imagenet" }
}
