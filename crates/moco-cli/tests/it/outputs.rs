//! Files that commands write: looked at first, whole or not there, never in the place of a run.

use crate::training::{SMALL, names, place};
use crate::{images, moco, moco_line};
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

/// Nothing else that is wrong is found before the output: no data set is opened for it.
#[test]
fn an_output_is_looked_at_before_anything_else() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    fs::create_dir(path.join("folder.npy")).unwrap();
    fs::write(path.join("file"), "").unwrap();
    let embed = "embed --run {}/none --data {}/none --out {}";
    refused(&format!("{embed}/folder.npy"), path, &["folder.npy is a folder"]);
    refused(&format!("{embed}/nowhere/f.csv"), path, &["there is no folder", "nowhere; make it"]);
    refused(&format!("{embed}/f.txt"), path, &["let --out end in .npy, .csv or .parquet"]);
    let export = "export --run {}/none --out {}";
    refused(&format!("{export}/nowhere/e.safetensors"), path, &["there is no folder"]);
    refused(&format!("{export}/e.pth"), path, &["does not end in .safetensors or .onnx"]);
    let doctor = "doctor {}/none --out {}";
    refused(&format!("{doctor}/page.pdf"), path, &["does not end in .html"]);
    refused(&format!("{doctor}/nowhere/page.html"), path, &["there is no folder"]);
    let report = "report {}/none --out {}";
    refused(&format!("{report}/page.pdf"), path, &["does not end in .html"]);
    refused(&format!("{report}/nowhere/page.html"), path, &["there is no folder"]);
    let views = "views {}/none --out {}";
    refused(&format!("{views}/sheet.tga"), path, &["let --out end in .png, .jpg or .webp"]);
    refused(&format!("{views}/nowhere/sheet.png"), path, &["there is no folder"]);
    for line in ["pretrain --data {}/none", "compare --data {}/none", "demo"] {
        refused(&format!("{line} --out {{}}/file"), path, &["cannot write", "file"]);
        refused(&format!("{line} --out {{}}/file/run"), path, &["cannot write", "file/run"]);
    }
    assert_eq!(names(path), ["file", "folder.npy"]);
}

#[test]
fn a_sheet_is_in_the_format_of_its_name() {
    let (_place, folder) = images(1);
    let starts: [(&str, &[u8]); 5] = [
        ("sheet.png", b"\x89PNG"),
        ("sheet.jpg", b"\xff\xd8\xff"),
        ("sheet.jpeg", b"\xff\xd8\xff"),
        ("sheet.JPG", b"\xff\xd8\xff"),
        ("sheet.webp", b"RIFF"),
    ];
    for (name, start) in starts {
        let outcome = moco_line(&format!("views {{}}/000.png --out {{}}/{name}"), &folder);
        assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.stderr);
        assert!(fs::read(folder.join(name)).unwrap().starts_with(start), "{name}");
        assert!(moco_data::Image::open(&folder.join(name)).is_ok(), "{name}");
    }
    refused("views {}/000.png --out {}/000.png", &folder, &["is what the command reads"]);
}

#[test]
fn a_list_of_images_is_not_written_over_by_their_features() {
    let (_place, folder) = images(2);
    fs::write(folder.join("list.csv"), "path\n000.png\n").unwrap();
    let embed = "embed --run {}/none --data {}/list.csv --out {}/list.csv";
    refused(embed, &folder, &["is what the command reads"]);
}

#[test]
fn an_export_never_takes_the_place_of_a_run() {
    let (_place, path) = place();
    let line = format!("pretrain --data {{}}/images --out {{}}/run {SMALL} --epochs 1");
    let trained = moco_line(&line, &path);
    assert_eq!(trained.code, Some(0), "{}", trained.stderr);
    let encoder = path.join("run/encoder.safetensors");
    let before = fs::read(&encoder).unwrap();
    let export = "export --run {}/run --names torchvision --out {}";
    let names = ["/run/encoder.safetensors", "/run/../run/encoder.safetensors"];
    let mut targets = names.map(str::to_owned).to_vec();
    targets.push("/run/checkpoints/step-00000006.safetensors".to_owned());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&encoder, path.join("link.safetensors")).unwrap();
        targets.push("/link.safetensors".to_owned());
    }
    for target in &targets {
        refused(&format!("{export}{target}"), &path, &["belongs to a run", "--force"]);
    }
    assert!(fs::read(&encoder).unwrap() == before);
    let forced = moco_line(&format!("{export}{} --force", targets[0]), &path);
    assert_eq!(forced.code, Some(0), "{}", forced.stderr);
    assert!(fs::read(&encoder).unwrap() != before);
}

#[test]
fn no_encoder_is_said_where_there_is_none() {
    let (_place, path) = place();
    let line = format!("pretrain --data {{}}/images --out {{}}/run {SMALL} --epochs 1");
    assert_eq!(moco_line(&line, &path).code, Some(0));
    let encoder = path.join("run/encoder.safetensors");
    let whole = fs::read(&encoder).unwrap();
    let export = "export --run {}/run --out {}/e.safetensors";
    fs::write(&encoder, &whole[..whole.len() / 2]).unwrap();
    refused(export, &path, &["encoder.safetensors is damaged", "moco pretrain --resume"]);
    fs::remove_file(&encoder).unwrap();
    refused(export, &path, &["no encoder in", "end of the first epoch"]);
    fs::create_dir(&encoder).unwrap();
    refused(export, &path, &["cannot read", "encoder.safetensors"]);
}

#[test]
fn printed_commands_are_quoted_for_a_shell() {
    let (_place, path) = place();
    let (images, run) = (path.join("it's $HOME"), path.join("my run"));
    fs::rename(path.join("images"), &images).unwrap();
    let mut words = vec!["pretrain", "--data", images.to_str().unwrap(), "--out"];
    words.push(run.to_str().unwrap());
    words.extend(SMALL.split_whitespace());
    words.extend(["--epochs", "1"]);
    let outcome = moco(&words);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let uses = outcome.stdout.lines().find_map(|line| line.strip_prefix("use:     moco ")).unwrap();
    let expected = ["embed", "--run", words[4], "--data", words[2], "--out", "features.npy"];
    assert_eq!(shlex::split(uses).unwrap(), expected);
    let again = moco(&words);
    let quoted = again.stderr.split('`').nth(1).unwrap();
    assert_eq!(shlex::split(quoted).unwrap(), ["moco", "pretrain", "--resume", words[4]]);
}
