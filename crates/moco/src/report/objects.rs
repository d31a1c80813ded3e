//! Events as JSON objects, for `metrics.jsonl` and for programs that follow a run.
//!
//! Every object has `kind`, which tells them apart. What was not measured is left out.

use crate::events::{EpochReport, Event, Start, StepReport};
use serde_json::{Value, json};

/// An event as an object.
///
/// | `kind` | fields |
/// |---|---|
/// | `start` | `method`, `images`, `steps_per_epoch`, `total_steps`, `first_step`, `batch_size`, `parameters`, `chance_loss` |
/// | `step` | `step`, `epoch` (from 0), `loss`, `lr`, `seconds`, `data_wait` in seconds, and the method's own values |
/// | `epoch` | `epoch` (finished), `step`, `loss`, `lr`, `images_per_second`, `data_wait_share`, `seconds`; where measured `knn`, `knn_protocol`, `probe`, `rank_me`, `lidar`, `alignment`, `uniformity`, `quality_dim`, `quality_images`, `feature_std`, `feature_std_healthy`; of several ranks `rank_seconds`, a list |
/// | `progress` | `stage`, `done`, `total` |
/// | `saved` | `path` |
/// | `bad_file` | `name`, `reason` |
/// | `note`, `warning` | `text` |
pub fn object(event: &Event) -> Value {
    match event {
        Event::Start(start) => start_object(start),
        Event::Step(step) => step_object(step),
        Event::Epoch(epoch) => epoch_object(epoch),
        Event::Progress { stage, done, total } => {
            json!({"kind": "progress", "stage": stage, "done": done, "total": total})
        }
        Event::Saved(path) => json!({"kind": "saved", "path": path.to_string_lossy()}),
        Event::BadFile { name, reason } => {
            json!({"kind": "bad_file", "name": name, "reason": reason})
        }
        Event::Note(text) => json!({"kind": "note", "text": text}),
        Event::Warning(text) => json!({"kind": "warning", "text": text}),
    }
}

fn start_object(start: &Start) -> Value {
    json!({
        "kind": "start",
        "method": start.method,
        "images": start.images,
        "steps_per_epoch": start.steps_per_epoch,
        "total_steps": start.total_steps,
        "first_step": start.first_step,
        "batch_size": start.batch_size,
        "parameters": start.parameters,
        "chance_loss": start.chance_loss,
    })
}

fn step_object(report: &StepReport) -> Value {
    let mut object = json!({
        "kind": "step",
        "step": report.step,
        "epoch": report.epoch,
        "loss": report.loss,
        "lr": report.lr,
        "seconds": report.seconds,
        "data_wait": report.data_wait,
    });
    for (name, value) in &report.metrics {
        object[*name] = json!(value);
    }
    object
}

fn epoch_object(report: &EpochReport) -> Value {
    let (feature_std, feature_std_healthy) = report.feature_std.unzip();
    let mut object = json!({
        "kind": "epoch",
        "step": report.step,
        "epoch": report.epoch,
        "loss": report.loss,
        "lr": report.lr,
        "images_per_second": report.images_per_second,
        "data_wait_share": report.data_wait_share,
        "seconds": report.seconds,
    });
    let quality = report.quality.as_ref();
    let measured = [
        ("knn", report.knn.map(Value::from)),
        ("knn_protocol", report.knn_protocol.clone().map(Value::from)),
        ("feature_std", feature_std.map(Value::from)),
        ("feature_std_healthy", feature_std_healthy.map(Value::from)),
        ("probe", report.probe.map(Value::from)),
        ("rank_me", quality.map(|quality| quality.rank_me.into())),
        ("lidar", quality.map(|quality| quality.lidar.into())),
        ("alignment", quality.map(|quality| quality.alignment.into())),
        ("uniformity", quality.map(|quality| quality.uniformity.into())),
        ("quality_dim", quality.map(|quality| quality.dim.into())),
        ("quality_images", quality.map(|quality| quality.images.into())),
        (
            "rank_seconds",
            Some(json!(report.rank_seconds)).filter(|_| !report.rank_seconds.is_empty()),
        ),
    ];
    for (name, value) in measured {
        if let Some(value) = value {
            object[name] = value;
        }
    }
    object
}
