//! `moco export` as a person calls it: forms and their names, what is refused, what is printed.

use crate::moco_line;
use crate::training::{SMALL, place};
use serde_json::Value;
use std::fs;
use std::path::Path;

#[track_caller]
fn refused(line: &str, path: &Path, words: &[&str]) {
    let outcome = moco_line(line, path);
    assert_eq!(outcome.code, Some(1), "{line}: {}{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 1, "{line}: {}", outcome.stderr);
    for word in words {
        assert!(outcome.stderr.contains(word), "{line}: no `{word}` in {}", outcome.stderr);
    }
}

#[track_caller]
fn done(line: &str, path: &Path) -> String {
    let outcome = moco_line(line, path);
    assert_eq!(outcome.code, Some(0), "{line}: {}", outcome.stderr);
    outcome.stdout
}

/// The texts and the names of a file of tensors.
fn read(path: &Path) -> (Value, Vec<String>) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let names = header.as_object().unwrap().keys().filter(|name| *name != "__metadata__");
    (header["__metadata__"].clone(), names.cloned().collect())
}

#[test]
fn what_contradicts_itself_is_refused_before_anything_is_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    fs::create_dir(path.join("full")).unwrap();
    fs::write(path.join("full/note"), "").unwrap();
    let export = "export --run {}/none --out {}";
    refused(&format!("{export}/e"), path, &[".safetensors or .onnx", "--format timm"]);
    refused(&format!("{export}/e.pth"), path, &[".safetensors or .onnx"]);
    refused(&format!("{export}/e.pth --format onnx"), path, &["does not end in .onnx"]);
    let tensors = format!("{export}/e.onnx --format safetensors");
    refused(&tensors, path, &["does not end in .safetensors"]);
    refused(&format!("{export}/e.onnx --format timm"), path, &["makes a folder: rename --out"]);
    refused(&format!("{export}/e.onnx --names timm"), path, &["leave --names out"]);
    let preprocess = format!("{export}/e.safetensors --preprocess");
    refused(&preprocess, path, &["--preprocess is of an ONNX graph"]);
    refused(&format!("{export}/t --format timm --unit-length"), path, &["--unit-length is of an"]);
    let other = format!("{export}/t --format timm --names dino");
    refused(&other, path, &["a folder for timm has timm's names"]);
    let more = format!("{export}/t --format huggingface --part all");
    refused(&more, path, &["a folder for huggingface holds the encoder alone"]);
    refused(&format!("{export}/full --format timm"), path, &["full is not empty", "--force"]);
    let within = format!("{export}/full/note/t --format timm");
    refused(&within, path, &["cannot write", "full/note/t"]);
    assert!(!path.join("t").exists());
}

#[test]
fn a_run_is_exported_in_every_form_that_it_has() {
    let (_place, path) = place();
    done(&format!("pretrain --data {{}}/images --out {{}}/run {SMALL} --epochs 1"), &path);
    let export = "export --run {}/run --out {}";
    done(&format!("{export}/e.onnx --preprocess --unit-length"), &path);
    let told = done(&format!("{export}/e.onnx"), &path);
    assert!(told.contains("InferenceSession") && told.contains("[N, 3, 32, 32]"), "{told}");
    let model = fs::read(path.join("e.onnx")).unwrap();
    assert!(model.starts_with(&[8, 8, 0x12, 4]) && model.len() > 10_000, "{}", model.len());

    // The run's own file has the same texts as an export, and its names.
    let (own, names) = read(&path.join("run/encoder.safetensors"));
    for (name, text) in [
        ("moco.method", "moco-v1"),
        ("moco.view", "resize(32) center(32) normalize(cifar10)"),
        ("moco.std", "0.2023, 0.1994, 0.201"),
        ("moco.names", "moco"),
        ("moco.part", "encoder+head"),
        ("moco.step", "6"),
    ] {
        assert_eq!(own[name], text, "{own}");
    }
    let architecture = own["moco.architecture"].as_str().unwrap();
    let architecture: Value = serde_json::from_str(architecture).unwrap();
    assert_eq!(architecture["resnet"]["width"], 4, "{architecture}");
    assert_eq!(architecture["resnet"]["blocks"], serde_json::json!([2, 2, 2, 2]));
    assert!(names.iter().any(|name| name == "head.0.weight"), "{names:?}");

    done(&format!("{export}/b.safetensors --part encoder"), &path);
    let (texts, backbone) = read(&path.join("b.safetensors"));
    assert_eq!(texts["moco.part"], "encoder");
    assert!(backbone.iter().all(|name| name.starts_with("backbone.")), "{backbone:?}");
    assert_eq!(backbone.len() + 2, names.len());

    done(&format!("{export}/all.safetensors --part all"), &path);
    let (_, all) = read(&path.join("all.safetensors"));
    for name in ["query.backbone.conv1.weight", "key.head.0.weight", "queue.keys"] {
        assert!(all.iter().any(|known| known == name), "{name} in {all:?}");
    }
    assert!(all.iter().all(|name| !name.contains("optimizer")), "{all:?}");

    let told = done(&format!("{export}/tv.safetensors --names torchvision"), &path);
    assert!(told.contains("net.maxpool = torch.nn.Identity()"), "{told}");
    assert_eq!(read(&path.join("tv.safetensors")).0["format"], "pt");
    let stem = ["3x3 convolution (model.stem = \"cifar\")", "--names torchvision"];
    refused(&format!("{export}/t --format timm"), &path, &stem);
    refused(&format!("{export}/d.safetensors --names detectron2"), &path, &stem);
    let head = format!("{export}/d.safetensors --names torchvision --part encoder+head");
    refused(&head, &path, &["torchvision has no names for more of this run than its encoder"]);
    refused(&format!("{export}/all.onnx --part all"), &path, &["one graph"]);
    refused(&format!("{export}/run --format timm --force"), &path, &["is the folder of a run"]);
    assert!(!path.join("t").exists() && !path.join("d.safetensors").exists());

    fs::remove_dir_all(path.join("run/checkpoints")).unwrap();
    let all = format!("{export}/again.safetensors --part all");
    refused(&all, &path, &["has no checkpoint", "--part encoder+head"]);
}

#[test]
fn folders_for_other_programs() {
    let (_place, path) = place();
    let run = "pretrain --data {}/images --out {}/run --recipe mae-small --batch-size 16 --epochs 1 \
               --max-steps 1 --set monitor.knn_epochs=0 --threads 1";
    done(run, &path);
    let export = "export --run {}/run --out {}";
    let told = done(&format!("{export}/t --format timm"), &path);
    assert!(told.contains("timm.create_model(\"local-dir:"), "{told}");
    let json = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(path.join(name)).unwrap()).unwrap()
    };
    let config = json("t/config.json");
    assert_eq!(config["architecture"], "vit_tiny_patch16_224");
    let args = &config["model_args"];
    assert_eq!((&args["img_size"][0], &args["depth"]), (&32.into(), &6.into()));
    assert_eq!((&args["embed_dim"], &args["fc_norm"]), (&128.into(), &false.into()));
    assert_eq!(config["pretrained_cfg"]["mean"], serde_json::json!([0.4914, 0.4822, 0.4465]));
    assert_eq!(config["pretrained_cfg"]["crop_pct"], 1.0);
    let (texts, names) = read(&path.join("t/model.safetensors"));
    assert_eq!((&texts["moco.names"], &texts["format"]), (&"timm".into(), &"pt".into()));
    assert!(names.iter().any(|name| name == "blocks.5.attn.qkv.bias"), "{names:?}");
    refused(&format!("{export}/t --format timm"), &path, &["is not empty"]);
    done(&format!("{export}/t --format huggingface --force"), &path);
    let (_, names) = read(&path.join("t/model.safetensors"));
    let value = "encoder.layer.5.attention.attention.value.bias";
    assert!(names.iter().any(|name| name == value), "{names:?}");
    assert_eq!(json("t/config.json")["intermediate_size"], 512);
    assert_eq!(json("t/preprocessor_config.json")["crop_size"]["height"], 32);

    let told = done(&format!("{export}/mae.safetensors --names mae --part all"), &path);
    assert!(told.contains("\"model\""), "{told}");
    let (_, names) = read(&path.join("mae.safetensors"));
    for name in ["mask_token", "decoder_pred.weight", "blocks.0.norm1.bias", "decoder_pos_embed"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
}
