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
        "swav" => {
            let jitter = if small {
                "jitter(0.4,0.4,0.4,0.1; p=0.8)"
            } else {
                "jitter(0.8,0.8,0.8,0.2; p=0.8)"
            };
            let crop = |size: usize, area: &str| {
                format!("crop({size}, {area}) flip {jitter} gray(p=0.2) {}{end}", blur("0.5"))
            };
            let (large, little) =
                if small { ("0.3..1", "0.1..0.3") } else { ("0.14..1", "0.05..0.14") };
            multi_crop([crop(size, large), crop(size, large)], crop(local(size), little), 6)
        }
        "dino" => {
            let crop = |size: usize, area: &str, rest: &str| {
                format!(
                    "crop({size}, {area}) flip jitter(0.4,0.4,0.2,0.1; p=0.8) gray(p=0.2) {rest}{end}"
                )
            };
            let large = [
                crop(size, "0.4..1", &blur("1")),
                crop(size, "0.4..1", &format!("{}solarize(128; p=0.2) ", blur("0.1"))),
            ];
            multi_crop(large, crop(local(size), "0.05..0.4", &blur("0.5")), 8)
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

/// Two large crops and `count` small ones.
fn multi_crop(large: [String; 2], small: String, count: usize) -> Vec<String> {
    large.into_iter().chain(std::iter::repeat_n(small, count)).collect()
}

/// Side of the small crops: 96 for 224, half the side of small images.
fn local(size: usize) -> usize {
    if size <= SMALL { size / 2 } else { size * 3 / 7 }
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
