//! SimCLR v2's distillation against torch's numbers (`golden/distill.py`), and a student that learns.

use crate::device::device;
use crate::golden::{Golden, assert_close, resnet};
use crate::runs::dataset;
use burn::tensor::{Device, Tensor};
use moco::batch::{pixels_to_tensor, to_host};
use moco::config::{RuleConfig, StemKind};
use moco::eval::{Classifier, Distill, HeadStart, Lessons, cross_entropy, distill, distillation};
use moco::models::{Encoder, MlpSpec, NetworkSpec};
use moco::nn::Mode;
use moco_data::{View, for_each_batch};

/// torch's own f32 is within 3e-7 of its f64 (golden/MANIFEST.json); sums of five exponentials in
/// another order may differ by a few roundings more.
const TOLERANCE: f64 = 2e-6;

#[test]
fn losses_and_gradients_are_the_published_ones() {
    let golden = Golden::open("distillation");
    let leaf = |name: &str| -> Tensor<2> {
        Tensor::from_data(golden.tensor::<2>(name).into_data(), &device().autodiff()).require_grad()
    };
    let labels: Vec<u32> = golden.values("labels").iter().map(|label| *label as u32).collect();
    for temperature in ["0.1", "1.0", "2.5"] {
        let (student, labelled) = (leaf("student"), leaf("labelled"));
        let teacher = golden.tensor::<2>("teacher");
        let loss = distillation(student.clone(), teacher, temperature.parse().unwrap());
        assert_close(loss.clone(), &golden, &format!("loss.{temperature}"), TOLERANCE);
        let both = loss * 0.3 + cross_entropy(labelled.clone(), &labels, 0.0) * 0.7;
        assert_close(both.clone(), &golden, &format!("both.{temperature}"), TOLERANCE);
        let gradients = both.backward();
        for (leaf, name) in [(student, "grad_student"), (labelled, "grad_labelled")] {
            let gradient = leaf.grad(&gradients).expect("a gradient");
            assert_close(gradient, &golden, &format!("{name}.{temperature}"), TOLERANCE);
        }
    }
}

/// A student of other first weights comes nearer to what its teacher says of images, and with a share of
/// labels nearer to those: what is between its loss and the teacher's own entropy more than halves.
#[test]
fn a_student_comes_to_say_what_its_teacher_says() {
    let (device, images) = (device(), dataset(48));
    let view: View = "center(16) normalize(none)".parse().unwrap();
    let classes = images.class_names().len();
    let net = |seed, device: &Device| {
        let NetworkSpec { architecture, .. } = resnet("resnet18", 4, StemKind::Cifar);
        let spec = NetworkSpec { architecture, seed };
        let encoder = Encoder::new(&spec, |_| MlpSpec::linear(4), device);
        Classifier::new(Box::new(encoder), classes, seed, device)
    };
    let mut teacher = net(0, &device);
    teacher.start_head(HeadStart::Normal(1.0), 5);
    let mut all = Vec::new();
    let indices: Vec<usize> = (0..images.len()).collect();
    for_each_batch(&images, &indices, &view, 48, 1, &mut |batch| {
        all.push(pixels_to_tensor(batch.pixels, [48, 16, 16], &device));
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    let taught = teacher.forward(all[0].clone(), Mode::Eval);
    let between = |student: &mut Classifier| {
        let learnt = student.forward(all[0].clone(), Mode::Eval).without_autodiff();
        let loss = |scores: Tensor<2>| to_host(distillation(scores, taught.clone(), 1.0))[0];
        loss(learnt) - loss(taught.clone())
    };
    let mut untaught = net(1, &device.clone().autodiff());
    let before = between(&mut untaught);
    let lessons = |labelled| Lessons { unlabelled: images.clone(), labelled };
    let config = Distill {
        epochs: 20,
        warmup_epochs: 1.0,
        batch_size: 16,
        rule: RuleConfig::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        lr: 3e-3,
        test_epochs: 0,
        ..Distill::published(view.clone(), images.len(), 3, 1)
    };
    let mut taught_by = |config: &Distill, lessons: &Lessons| {
        let student = net(1, &device.clone().autodiff());
        let test = (&*images, &view);
        distill(&mut teacher, student, lessons, test, config, &device, &mut |_, _| ()).unwrap()
    };
    let mut alone = taught_by(&config, &lessons(None));
    let after = between(&mut alone.net);
    assert!(before > 0.0 && after < 0.5 * before, "{before} before and {after} after");
    let mixed = Distill { teacher_share: 0.2, ..config };
    let mixed = taught_by(&mixed, &lessons(Some(images.clone())));
    let (own, labels) = (alone.epochs.last().top1, mixed.epochs.last().top1);
    assert!(labels > own, "{labels} of the labels are right with them, {own} without");
}

#[test]
fn the_settings_are_the_papers() {
    let view: View = "center(16) normalize(none)".parse().unwrap();
    let published = |images| Distill::published(view.clone(), images, 0, 1);
    let imagenet = published(1_281_167);
    assert_eq!((imagenet.batch_size, imagenet.epochs, imagenet.warmup_epochs), (4096, 400, 20.0));
    assert!((imagenet.lr - 6.4).abs() < 1e-12 && imagenet.weight_decay == 1e-4);
    assert_eq!([20_000, 500, 7].map(|images| published(images).batch_size), [312, 32, 7]);
}
