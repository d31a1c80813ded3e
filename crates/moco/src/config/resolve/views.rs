//! The augmentation of each method, as published.

use super::SMALL;

/// The views of a method for square images of `size` pixels. Small images go without blur, as in
/// the CIFAR-10 settings of these papers.
pub(super) fn views(method: &str, size: usize) -> Vec<String> {
    let small = size <= SMALL;
    let end = format!("normalize({})", normalization(method, small));
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
        "cmc" => vec![format!("crop({size}, 0.2..1) flip lab normalize(lab)")],
        "cpc" => {
            let (patch, stride) = patches(size);
            vec![format!(
                "crop({size}, 0.3..1) flip jitter(0.4,0.4,0.4,0.2; p=0.8) gray(p=0.25) \
                 patches({patch}; stride={stride}) {end}"
            )]
        }
        "mae" => vec![format!("crop({size}, 0.2..1, bicubic) flip {end}")],
        "moco-v1" if !small => {
            both(format!("crop({size}, 0.2..1) gray(p=0.2) jitter(0.4,0.4,0.4,0.4) flip {end}"))
        }
        "simclr" | "simclr-v2" => {
            // The published code's own operations, and half their strength for CIFAR-10.
            let strengths = if small { "0.4,0.4,0.4,0.1" } else { "0.8,0.8,0.8,0.2" };
            let blur = if small { "" } else { "blur(0.1..2; taps=height/10; p=0.5) " };
            both(format!(
                "crop({size}, 0.08..1, bicubic) flip jitter({strengths}; colors=tensorflow; p=0.8) \
                 gray(p=0.2) {blur}{end}"
            ))
        }
        "byol" | "moco-v3" => {
            // BYOL's own operations: bicubic crops, brightness that is added, TensorFlow's colours.
            let (filter, colors) = match method {
                "byol" => (", bicubic", "; brightness=add; colors=tensorflow"),
                _ => ("", ""),
            };
            let view = |blur: &str, solarize: &str| {
                format!(
                    "crop({size}, 0.08..1{filter}) flip jitter(0.4,0.4,0.2,0.1{colors}; p=0.8) \
                     gray(p=0.2) {blur}{solarize}{end}"
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
                    "crop({size}, {area}, bicubic) flip jitter(0.4,0.4,0.2,0.1; p=0.8) gray(p=0.2) \
                     {rest}{end}"
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

/// Side and stride of CPC's patches, which overlap by half: a quarter of the image and half of it,
/// for a grid of 7x7.
fn patches(size: usize) -> (usize, usize) {
    (size / 4, size / 8)
}

/// Two large crops and `count` small ones.
fn multi_crop(large: [String; 2], small: String, count: usize) -> Vec<String> {
    large.into_iter().chain([format!("{count}x {small}")]).collect()
}

/// Side of the small crops: 96 for 224, half the side of small images.
fn local(size: usize) -> usize {
    if size <= SMALL { size / 2 } else { size * 3 / 7 }
}

/// Resize to 8/7 of the size and cut out the middle, as in 256 and 224; small images whole.
pub(super) fn eval_view(method: &str, size: usize) -> String {
    let normalize = format!("normalize({})", normalization(method, size <= SMALL));
    let end = match method {
        "cmc" => "lab normalize(lab)".to_owned(),
        "cpc" => {
            let (patch, stride) = patches(size);
            format!("patches({patch}; stride={stride}) {normalize}")
        }
        _ => normalize,
    };
    let resized = if size <= SMALL { size } else { size * 8 / 7 };
    // Those that train on bicubic crops are measured on such images too.
    let filter = match method {
        "simclr" | "simclr-v2" | "byol" | "dino" | "mae" => ", bicubic",
        _ => "",
    };
    format!("resize({resized}{filter}) center({size}) {end}")
}

/// SimCLR's inputs keep their range of 0 to 1.
fn normalization(method: &str, small: bool) -> &'static str {
    match method {
        "simclr" | "simclr-v2" => "none",
        _ if small => "cifar10",
        _ => "imagenet",
    }
}
