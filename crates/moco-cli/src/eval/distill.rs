//! `moco eval distill`: a student learns from what a fine-tuned network says.

use super::bench::{agree, check_groups, labelled, probe_view, warn_of_shared_images};
use super::finetune::{fitting, optimizer};
use super::{Measured, print};
use crate::args::{DistillArgs, TuneRule};
use crate::console::Stage;
use crate::data;
use crate::failure::RunFailed;
use crate::output::Output;
use crate::ranks::peers;
use crate::session::{Machine, open_encoder};
use anyhow::ensure;
use moco::eval::{self, Classifier, Distill, Lessons, Readout, Refit};
use moco::nn::share;
use moco::report::percent;
use moco::run::{ClassifierCard, TrainedEncoder, open_classifier, save_classifier};
use moco_data::{Dataset, View};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

const STAGE: &str = "distillation: steps";

pub fn run(args: &DistillArgs) -> anyhow::Result<()> {
    // One rank writes.
    let out = args.out.as_deref().filter(|_| peers().speaks()).map(Output::at).transpose()?;
    let out = out.map(|out| out.spares(&args.teacher)).transpose()?;
    let machine = Machine::open(&args.machine)?;
    let device = &machine.device;
    let (mut teacher, of_teacher) = open_classifier(&args.teacher, device)?;
    let opened = open_encoder(&args.encoder, device)?;
    check_views(&of_teacher.view, &opened.encoder.view)?;
    let view = match &args.view {
        Some(view) => fitting(view, &opened.encoder.view)?,
        None => probe_view(&opened.encoder)?,
    };
    let lessons = Lessons {
        unlabelled: Arc::new(data::open_together(&args.train)?.with_content_hashes()),
        labelled: match &args.labelled {
            Some(path) => Some(Arc::new(of_classes(path, &of_teacher.classes, "--labelled")?)),
            None => None,
        },
    };
    let test = of_classes(&args.test, &of_teacher.classes, "--test")?.with_content_hashes();
    let config = settings(args, view, lessons.unlabelled.len(), &test, machine.options.threads)?;

    let (mut student, card) = student(args, opened, of_teacher, &machine);
    check_batches(&card, &lessons, &config)?;
    let mut protocol = described(&config, args.fresh);
    let images: [(&str, &Dataset); 2] =
        [("training set", &lessons.unlabelled), ("test set", &test)];
    agree(&images, &mut [&mut teacher, &mut student], &protocol, device)?;
    [&mut teacher, &mut student].into_iter().for_each(|net| share(net, peers()));
    let test_view = card.view.clone();
    let of_teacher = eval::score(&mut teacher, &test, &test_view, config.threads, device)
        .map_err(RunFailed::from)?;
    let mut stage = Stage::new(STAGE);
    let mut tuned = eval::distill(
        &mut teacher,
        student,
        &lessons,
        (&test, &test_view),
        &config,
        device,
        &mut |done, total| stage.advance(STAGE, done, total),
    )
    .map_err(RunFailed::from)?;
    drop(stage);
    if let Some(out) = &out {
        save_classifier(&mut tuned.net, &card, out.target())?;
    }
    warn_of_shared_images(&test, &lessons.unlabelled);
    if !args.json {
        println!("teacher top-1 {}", percent(of_teacher.top1, 2));
    }
    protocol["teacher_top1"] = of_teacher.top1.into();
    protocol["train_images"] = lessons.unlabelled.len().into();
    protocol["labelled_images"] = lessons.labelled.as_ref().map_or(0, |images| images.len()).into();
    protocol["test_images"] = test.len().into();
    print(protocol, &Measured::Epochs(tuned.epochs), args.json);
    Ok(())
}

/// The student, a layer on the encoder's backbone, and what its file will say.
fn student(
    args: &DistillArgs,
    opened: TrainedEncoder,
    of_teacher: ClassifierCard,
    machine: &Machine,
) -> (Classifier, ClassifierCard) {
    let TrainedEncoder { encoder: mut start, config, imported, .. } = opened;
    let card = ClassifierCard {
        config,
        imported,
        readout: Readout::Own,
        classes: of_teacher.classes,
        view: start.view.clone(),
    };
    let graph = machine.device.clone().autodiff();
    let mut encoder = card.encoder(&graph);
    if !args.fresh {
        moco::nn::copy_tensors(start.encoder.as_mut(), encoder.as_mut());
    }
    let student =
        Classifier::refitted(encoder, &Refit::NONE, card.classes.len(), args.seed, &graph);
    (student, card)
}

/// Refuses batches, of either kind of images, that do not split into the student's BatchNorm groups.
fn check_batches(
    student: &ClassifierCard,
    lessons: &Lessons,
    settings: &Distill,
) -> anyhow::Result<()> {
    let labelled = lessons.labelled.iter().map(|images| images.len().min(settings.batch_size));
    let sizes = [settings.batch_size].into_iter().chain(labelled);
    let ClassifierCard { config, imported, .. } = student;
    sizes.into_iter().try_for_each(|batch| check_groups(config, imported.as_ref(), batch))
}

/// Refuses networks that see pixels in other ways: one image goes to both.
fn check_views(teacher: &View, student: &View) -> anyhow::Result<()> {
    let same = teacher.normalize().statistics() == student.normalize().statistics()
        && teacher.space() == student.space()
        && teacher.range() == student.range()
        && (teacher.size(), teacher.count()) == (student.size(), student.count());
    ensure!(
        same,
        "the teacher sees images as `{teacher}` and the student as `{student}`: both are given the same \
         pixels, so choose a student with that size and normalisation, or pass --eval-view"
    );
    Ok(())
}

/// Labelled images whose classes are the teacher's.
fn of_classes(path: &Path, classes: &[String], flag: &str) -> anyhow::Result<Dataset> {
    let images = labelled(path)?;
    ensure!(
        images.class_names() == classes,
        "{flag} {} has {} classes, and the teacher knows {}, which must be the same by name: give \
         images with the teacher's classes",
        path.display(),
        images.class_names().len(),
        classes.len()
    );
    Ok(images)
}

fn settings(
    args: &DistillArgs,
    view: View,
    images: usize,
    test: &Dataset,
    threads: usize,
) -> anyhow::Result<Distill> {
    let usual = Distill::published(view, images, args.seed, threads);
    let batch_size = args.batch_size.map_or(usual.batch_size, |n| (n as usize).min(images));
    let epochs = args.epochs as usize;
    let in_proportion = usual.warmup_epochs * epochs as f64 / usual.epochs as f64;
    let warmup_epochs = args.warmup_epochs.unwrap_or(in_proportion);
    ensure!(
        warmup_epochs < epochs as f64,
        "--warmup-epochs {warmup_epochs}: leaves nothing of the {epochs} epochs, so shorten it"
    );
    let usual_lr = match args.optimizer {
        TuneRule::Lars => Distill::published_rate(batch_size),
        _ => 1e-3,
    };
    let (rule, scope) = args.optimizer.into();
    let tested = test.len().div_ceil(images.max(1));
    Ok(Distill {
        epochs,
        warmup_epochs,
        batch_size,
        rule,
        scope,
        lr: args.lr.unwrap_or(usual_lr),
        weight_decay: args.weight_decay,
        temperature: args.temperature,
        teacher_share: args.teacher_share.unwrap_or(1.0),
        test_epochs: args.test_epochs.map_or(tested, |epochs| epochs as usize),
        ..usual
    })
}

fn described(config: &Distill, fresh: bool) -> serde_json::Value {
    json!({
        "probe": "distill",
        "start": if fresh { "fresh" } else { "encoder" },
        "temperature": config.temperature,
        "teacher_share": config.teacher_share,
        "view": config.view.to_string(),
        "epochs": config.epochs,
        "warmup_epochs": config.warmup_epochs,
        "optimizer": optimizer(&config.rule),
        "lr": config.lr,
        "weight_decay": config.weight_decay,
        "batch_size": config.batch_size,
        "seed": config.seed,
    })
}
