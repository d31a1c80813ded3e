//! Curves: what a run wrote down from step to step, read and drawn.

use super::data::{Curves, Line, Run};
use super::text::{escape, number};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Points of a curve; of more, neighbours are averaged.
const POINTS: usize = 1200;

/// A kind of curve, by the key of its numbers.
struct Kind {
    key: &'static str,
    title: &'static str,
    /// What the numbers are multiplied by, and what stands behind them.
    scale: f64,
    unit: &'static str,
    meaning: &'static str,
}

const fn kind(key: &'static str, title: &'static str, meaning: &'static str) -> Kind {
    Kind { key, title, scale: 1.0, unit: "", meaning }
}

const fn share(key: &'static str, title: &'static str, meaning: &'static str) -> Kind {
    Kind { scale: 100.0, unit: "%", ..kind(key, title, meaning) }
}

/// The curves that are known, in the order in which they are shown. Others follow by their keys.
const KINDS: [Kind; 17] = [
    kind(
        "loss",
        "Loss",
        "Should fall below the line of chance, and may well stay far above 0; a curve that settles \
         on the line of collapse has learnt nothing.",
    ),
    share(
        "knn",
        "kNN accuracy",
        "Share of images whose nearest neighbours have their class; the surest sign of a useful \
         encoder where there are labels.",
    ),
    share("probe", "Linear probe", "Accuracy of a linear classifier on the frozen features."),
    kind(
        "rank_me",
        "RankMe",
        "Effective number of directions in the features; a fall while the loss falls too is the \
         beginning of a collapse.",
    ),
    kind(
        "lidar",
        "LiDAR",
        "Effective number of directions in which images differ more than their views do.",
    ),
    kind(
        "alignment",
        "Alignment",
        "Mean squared distance of two views of an image; lower is closer.",
    ),
    kind(
        "uniformity",
        "Uniformity",
        "How evenly features fill the sphere; lower is more even, and 0 is one point.",
    ),
    share("accuracy", "Accuracy of the task", "How often the right key is found among all others."),
    kind(
        "feature_std",
        "Deviation of the features",
        "Standard deviation of the normalised features over a batch; at 0 all images look alike to \
         the network, and the dotted line is where they fill the sphere.",
    ),
    kind(
        "teacher_entropy",
        "Entropy of the teacher",
        "Should fall, but not to 0, where the teacher answers the same to every image.",
    ),
    kind(
        "own_keys",
        "Own keys in the queue",
        "Keys of the query's own image among the negatives, on average; many push an image away \
         from itself.",
    ),
    kind("lr", "Learning rate", "As the schedule sets it."),
    kind(
        "momentum",
        "Momentum of the key encoder",
        "The share of itself that it keeps at each step.",
    ),
    kind("weight_decay", "Weight decay", "As the schedule sets it."),
    kind("images_per_second", "Images per second", "Monitors excluded."),
    share(
        "data_wait_share",
        "Waiting for images",
        "Share of the time in which training waited for decoding; much of it asks for more threads \
         or smaller files.",
    ),
    Kind {
        unit: "s",
        ..kind("seconds", "Seconds per epoch", "Wall time of an epoch, monitors excluded.")
    },
];

/// Keys that are no curves: places in time, and what stands in other curves.
const PLACES: [&str; 6] =
    ["step", "epoch", "data_wait", "feature_std_healthy", "quality_dim", "quality_images"];

impl Curves {
    /// From the text of `metrics.jsonl`: each line an object with `kind`, `step` or `epoch`, and
    /// numbers. What is no such line is passed over, and so is what is no number.
    pub fn parse(text: &str) -> Curves {
        let mut curves = Curves::default();
        for line in text.lines() {
            let Ok(Value::Object(object)) = serde_json::from_str(line) else { continue };
            let numbers = |(key, value): (&String, &Value)| Some((key.clone(), value.as_f64()?));
            let numbers: Line = object.iter().filter_map(numbers).collect();
            match object.get("kind").and_then(Value::as_str) {
                Some("step") => curves.steps.push(numbers),
                Some("epoch") => curves.epochs.push(numbers),
                _ => {}
            }
        }
        curves
    }

    /// Steps of an epoch, if an epoch was finished.
    fn steps_per_epoch(&self) -> Option<f64> {
        let last = self.epochs.last()?;
        Some(last.get("step")? / last.get("epoch").filter(|epoch| **epoch > 0.0)?)
    }

    /// The points of one key: from the epochs where they have it, else from the steps.
    fn points(&self, key: &str, per_epoch: Option<f64>) -> Vec<[f64; 2]> {
        let of = |lines: &[Line]| -> Vec<[f64; 2]> {
            let point = |line: &Line| {
                let step = *line.get("step")?;
                Some([per_epoch.map_or(step, |per| step / per), *line.get(key)?])
            };
            lines.iter().filter_map(point).collect()
        };
        // The loss and the rate have more to show step by step; all else is said once an epoch.
        let by_steps = of(&self.steps);
        let by_epochs = of(&self.epochs);
        let fine = ["loss", "lr", "feature_std"].contains(&key) || by_epochs.len() < 2;
        thinned(if fine && by_steps.len() >= by_epochs.len() { by_steps } else { by_epochs })
    }
}

/// At most [`POINTS`] points, each the mean of as many neighbours.
fn thinned(points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    let group = points.len().div_ceil(POINTS).max(1);
    let mean = |points: &[[f64; 2]], axis: usize| {
        points.iter().map(|point| point[axis]).sum::<f64>() / points.len() as f64
    };
    points.chunks(group).map(|points| [mean(points, 0), mean(points, 1)]).collect()
}

/// The charts as the script draws them.
pub(super) fn charts(runs: &[Run]) -> Value {
    let by_epoch = runs.iter().all(|run| run.curves.steps_per_epoch().is_some());
    let charts: Vec<Value> =
        kinds(runs).iter().filter_map(|kind| chart(kind, runs, by_epoch)).collect();
    json!({ "x": if by_epoch { "epoch" } else { "step" }, "charts": charts })
}

/// The known kinds, then whatever else was written down.
fn kinds(runs: &[Run]) -> Vec<(String, String, f64, String, String)> {
    let known = KINDS.iter().map(|kind| {
        let words = [kind.key, kind.title, kind.unit, kind.meaning].map(str::to_owned);
        let [key, title, unit, meaning] = words;
        (key, title, kind.scale, unit, meaning)
    });
    let lines = runs.iter().flat_map(|run| run.curves.steps.iter().chain(&run.curves.epochs));
    let keys: BTreeSet<&String> = lines.flat_map(|line| line.keys()).collect();
    let is_other = |key: &&&String| {
        !PLACES.contains(&key.as_str()) && KINDS.iter().all(|kind| kind.key != key.as_str())
    };
    let others = keys.iter().filter(is_other);
    let other = |key: &&String| {
        let title = key.replace('_', " ");
        ((*key).clone(), title, 1.0, String::new(), "As the method reports it.".to_owned())
    };
    known.chain(others.map(other)).collect()
}

fn chart(
    (key, title, scale, unit, meaning): &(String, String, f64, String, String),
    runs: &[Run],
    by_epoch: bool,
) -> Option<Value> {
    let mut series = Vec::new();
    let mut marks: Vec<Mark> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let per_epoch = run.curves.steps_per_epoch().filter(|_| by_epoch);
        let points = run.curves.points(key, per_epoch);
        if points.is_empty() {
            continue;
        }
        let axis = |axis: usize, scale: f64| -> Vec<f64> {
            points.iter().map(|point| rounded(point[axis] * scale)).collect()
        };
        series.push(json!({ "run": number, "x": axis(0, 1.0), "y": axis(1, *scale) }));
        for (kind, y) in lines_across(key, run) {
            match marks.iter_mut().find(|mark| mark.kind == kind && mark.y == y) {
                Some(mark) => mark.runs.push(&run.name),
                None => marks.push(Mark { kind, y, runs: vec![&run.name] }),
            }
        }
    }
    let of_all = marks.iter().map(|mark| mark.json(runs.len()));
    let marks: Vec<Value> = of_all.collect();
    (!series.is_empty()).then(|| {
        json!({
            "key": key, "title": title, "unit": unit, "meaning": meaning,
            "series": series, "marks": marks,
        })
    })
}

/// A line across a chart, and the runs that it is for.
struct Mark<'a> {
    kind: &'static str,
    y: f64,
    runs: Vec<&'a str>,
}

impl Mark<'_> {
    /// With the names of its runs, unless it is for all of them.
    fn json(&self, all: usize) -> Value {
        let whose = match self.runs.len() == all {
            true => String::new(),
            false => format!(", {}", self.runs.join(" and ")),
        };
        json!({ "name": format!("{}{whose}", self.kind), "y": self.y })
    }
}

/// Lines that a curve is to be compared with: what they stand for, and how high they lie.
fn lines_across(key: &str, run: &Run) -> Vec<(&'static str, f64)> {
    let healthy = run.curves.epochs.iter().rev().find_map(|line| line.get("feature_std_healthy"));
    let lines = match key {
        "loss" => vec![("chance", run.curves.chance), ("collapse", run.curves.collapse)],
        "feature_std" => vec![("healthy", healthy.copied())],
        _ => Vec::new(),
    };
    lines.into_iter().filter_map(|(kind, y)| Some((kind, y?))).collect()
}

/// Six digits are more than a screen shows.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// The curves' section; the pictures are drawn by the script, the table is here.
pub(super) fn section(out: &mut String, runs: &[Run]) {
    if runs.iter().all(|run| run.curves.steps.is_empty() && run.curves.epochs.is_empty()) {
        out.push_str("<p>Nothing was written down yet: curves begin with the first steps.</p>");
        return;
    }
    out.push_str(
        "<p class=hint>Drag across a chart to enlarge, double-click to see all of it again. All \
         charts share the pointer.</p><div id=charts class=charts></div>",
    );
    for run in runs.iter().filter(|run| !run.curves.epochs.is_empty()) {
        table(out, run);
    }
}

/// The epochs in figures, for who cannot see the curves.
fn table(out: &mut String, run: &Run) {
    let columns: Vec<&Kind> = KINDS
        .iter()
        .filter(|kind| run.curves.epochs.iter().any(|line| line.contains_key(kind.key)))
        .collect();
    let caption = format!("Epochs of {} in figures", escape(&run.name));
    let _ = write!(out, "<details><summary>{caption}</summary><div class=scroll tabindex=0>");
    let _ = write!(out, "<table><caption class=sr>{caption}</caption><thead><tr><th>epoch");
    for kind in &columns {
        let unit = if kind.unit.is_empty() { "" } else { ", " };
        let _ = write!(out, "<th>{}{unit}{}", kind.title, kind.unit);
    }
    out.push_str("<tbody>");
    for line in &run.curves.epochs {
        let cell = |value: Option<&f64>, scale| value.map_or("".into(), |v| number(v * scale));
        let epoch = line.get("epoch").map_or(String::new(), |epoch| format!("{epoch:.0}"));
        let _ = write!(out, "<tr><th scope=row>{epoch}");
        for kind in &columns {
            let _ = write!(out, "<td>{}", cell(line.get(kind.key), kind.scale));
        }
    }
    out.push_str("</table></div></details>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_age_are_read() {
        let text = "{\"kind\":\"step\",\"step\":1,\"loss\":2.5}\nhalf a li\n[1]\n\
                    {\"kind\":\"epoch\",\"step\":4,\"epoch\":2,\"loss\":2,\"knn_protocol\":\"k\"}\n\
                    {\"kind\":\"other\"}\n";
        let curves = Curves::parse(text);
        assert_eq!((curves.steps.len(), curves.epochs.len()), (1, 1));
        assert_eq!(curves.steps_per_epoch(), Some(2.0));
        assert_eq!(curves.points("loss", Some(2.0)), [[0.5, 2.5]]);
        assert!(curves.points("knn", None).is_empty());
    }

    #[test]
    fn what_nobody_knows_is_a_curve_too_and_places_are_none() {
        let mut run = Run::named("a", "");
        run.curves = Curves::parse("{\"kind\":\"step\",\"step\":1,\"new_thing\":7}");
        let charts = charts(&[run]);
        assert_eq!(charts["x"], "step");
        assert_eq!(charts["charts"].as_array().unwrap().len(), 1);
        assert_eq!(charts["charts"][0]["title"], "new thing");
    }

    #[test]
    fn runs_of_one_method_share_their_lines_and_epochs_stand_for_few_steps() {
        let run = |name: &str, chance: f64| {
            let mut run = Run::named(name, "");
            run.curves = Curves::parse(
                "{\"kind\":\"step\",\"step\":1,\"loss\":9}\n\
                 {\"kind\":\"epoch\",\"step\":3,\"epoch\":1,\"loss\":5}\n\
                 {\"kind\":\"epoch\",\"step\":6,\"epoch\":2,\"loss\":4}\n",
            );
            run.curves.chance = Some(chance);
            run
        };
        let names = |runs: &[Run]| -> Vec<String> {
            let marks = charts(runs)["charts"][0]["marks"].clone();
            marks.as_array().unwrap().iter().map(|mark| mark["name"].to_string()).collect()
        };
        assert_eq!(names(&[run("a", 8.0), run("b", 8.0)]), ["\"chance\""]);
        let three = [run("a", 8.0), run("b", 7.0), run("c", 8.0)];
        assert_eq!(names(&three), ["\"chance, a and c\"", "\"chance, b\""]);
        assert_eq!(charts(&three)["charts"][0]["series"][0]["y"], json!([5.0, 4.0]));
    }

    #[test]
    fn long_curves_are_thinned_by_means() {
        let points = thinned((0..2400).map(|i| [f64::from(i), f64::from(i % 2)]).collect());
        assert_eq!((points.len(), points[0]), (1200, [0.5, 0.5]));
    }
}
