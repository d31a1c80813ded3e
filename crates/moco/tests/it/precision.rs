//! Runs in fewer bits: refused where no engine has them, and on LibTorch near f32 and resumed to the bit.

use crate::resume_methods::{CASES, config_with};
use crate::runs::{dataset, options};
use moco::device;
use moco::train::Trainer;

#[test]
fn a_device_without_a_precision_refuses_it_in_one_sentence() {
    let data = dataset(64);
    for precision in ["tf32", "bf16", "f16"] {
        let more = [format!("train.precision={precision}")];
        let config = config_with(&CASES[1], &[&more[0]], &data);
        let cpu = device::parse("cpu").unwrap();
        let refused = Trainer::new(&config, data.clone(), &cpu, options(1)).err();
        let told = refused.expect("our kernels have f32 alone").to_string();
        assert!(told.starts_with(&format!("train.precision = {precision}")), "{told}");
        assert!(told.contains("--features libtorch"), "{told}");
    }
}

#[cfg(feature = "libtorch")]
mod on_libtorch {
    use super::*;
    use crate::runs::{Recorder, state};
    use moco::run::RunDir;

    #[test]
    fn runs_in_fewer_bits_stay_near_f32_and_resume_exactly() {
        let (data, device) = (dataset(64), device::parse("libtorch-cpu").unwrap());
        let mut first = Vec::new();
        for precision in ["f32", "bf16", "f16"] {
            let more = [format!("train.precision={precision}")];
            let config = config_with(&CASES[1], &[&more[0]], &data);
            let new = || Trainer::new(&config, data.clone(), &device, options(1)).unwrap();

            let dir = tempfile::tempdir().unwrap();
            let (mut straight, mut trainer) = (Recorder::default(), new());
            straight.train(&mut trainer, dir.path()).unwrap();

            let dir = tempfile::tempdir().unwrap();
            let mut broken = Recorder::stopping_after(5);
            broken.train(&mut new(), dir.path()).unwrap();
            let run = RunDir::at(dir.path());
            let mut resumed = Trainer::resume(&run, data.clone(), &device, options(1)).unwrap();
            broken.stop_after = None;
            broken.train(&mut resumed, dir.path()).unwrap();

            assert_eq!(straight.losses(), broken.losses(), "{precision}");
            assert_eq!(state(&mut trainer), state(&mut resumed), "{precision}");
            first.push(straight.losses()[0]);
        }
        // Random weights and the same images: 7 bits after the point make a hundredth of a loss near 3.
        let [full, bf16, f16] = first[..] else { panic!("three") };
        assert!((bf16 - full).abs() < 0.03 && bf16 != full, "bf16 {bf16}, f32 {full}");
        assert!((f16 - full).abs() < 0.01 && f16 != full, "f16 {f16}, f32 {full}");
    }

    #[test]
    fn a_cpu_has_no_tf32() {
        let (data, device) = (dataset(64), device::parse("libtorch-cpu").unwrap());
        let config = config_with(&CASES[1], &["train.precision=tf32"], &data);
        let told = Trainer::new(&config, data, &device, options(1)).err().unwrap().to_string();
        assert!(told.contains("a CPU has no TF32"), "{told}");
    }
}
