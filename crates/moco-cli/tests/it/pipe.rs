//! A reader that leaves early, as `head` does.

use std::io::{Read, pipe};
use std::process::{Command, Stdio};

/// Nobody holds the pipe's other end from the start, so that no write can succeed.
#[test]
fn a_closed_pipe_ends_every_command_quietly() {
    for line in [
        "--help",
        "methods",
        "devices",
        "bench machine --threads 1",
        "bench step --backbone resnet18 --set model.width=4 --size 8 --batch-size 8 --steps 1",
    ] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_moco"));
        command.args(line.split_whitespace()).stdout(writer).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = child.wait().unwrap();
        // clap does not mind that its help is not read.
        let expected = if line == "--help" { 0 } else { 141 };
        assert_eq!(status.code(), Some(expected), "{line}: {status}, {stderr}");
        assert!(!stderr.contains("panicked"), "{line}: {stderr}");
    }
}
