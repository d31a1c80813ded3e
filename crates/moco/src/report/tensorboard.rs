//! TensorBoard event files.
//!
//! Written by hand: the format is a length, a checksum and one small protobuf message per record,
//! while the crates that offer it bring a protobuf runtime for one message.
//! Format: TensorFlow's `tfrecord` framing around `tensorflow.Event` messages.

use super::whole::Records;
use super::{Report, ReportError};
use crate::events::Event;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes scalars of steps and epochs for TensorBoard.
pub struct TensorBoard {
    path: PathBuf,
    file: Records,
}

impl TensorBoard {
    /// Creates an event file in `dir`; a resumed run adds one, which tells TensorBoard to forget
    /// what earlier files say about steps past `first_step`, and cuts these where a record is not
    /// whole.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(dir: &Path, first_step: usize) -> Result<TensorBoard, ReportError> {
        cut_torn(dir).map_err(ReportError::at(dir))?;
        let name =
            format!("events.out.tfevents.{:010.0}.{}.moco", seconds_now(), std::process::id());
        let path = dir.join(name);
        let file = Records::open(&path, |_| 0).map_err(ReportError::at(&path))?;
        let mut board = TensorBoard { path, file };
        board.write(&message::file_version(seconds_now()))?;
        if first_step > 0 {
            board.write(&message::session_start(seconds_now(), first_step as u64 + 1))?;
        }
        Ok(board)
    }

    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), ReportError> {
        self.write(&message::scalars(seconds_now(), step as u64, values))
    }

    fn write(&mut self, message: &[u8]) -> Result<(), ReportError> {
        self.file.append(&record(message)).map_err(ReportError::at(&self.path))
    }
}

impl Report for TensorBoard {
    fn record(&mut self, event: &Event) -> Result<(), ReportError> {
        match event {
            Event::Step(report) => {
                let names: Vec<_> =
                    report.metrics.iter().map(|(name, _)| format!("train/{name}")).collect();
                let mut values = vec![
                    ("train/loss", report.loss),
                    ("train/lr", report.lr),
                    ("time/step_seconds", report.seconds),
                    ("time/data_wait_seconds", report.data_wait),
                ];
                let metrics = report.metrics.iter().map(|(_, value)| *value);
                values.extend(names.iter().map(String::as_str).zip(metrics));
                self.scalars(report.step, &values)
            }
            Event::Epoch(report) => {
                let mut values = vec![
                    ("epoch/loss", report.loss),
                    ("time/images_per_second", report.images_per_second),
                    ("time/data_wait_share", report.data_wait_share),
                ];
                values.extend(report.knn.map(|knn| ("epoch/knn", knn)));
                values.extend(report.probe.map(|probe| ("epoch/probe", probe)));
                if let Some(quality) = &report.quality {
                    values.extend([
                        ("quality/rank_me", quality.rank_me),
                        ("quality/lidar", quality.lidar),
                        ("quality/alignment", quality.alignment),
                        ("quality/uniformity", quality.uniformity),
                    ]);
                }
                if let Some((std, healthy)) = report.feature_std {
                    values.extend([
                        ("epoch/feature_std", std),
                        ("epoch/feature_std_healthy", healthy),
                    ]);
                }
                self.scalars(report.step, &values)
            }
            _ => Ok(()),
        }
    }
}

/// Cuts earlier event files in `dir` behind their last whole record.
fn cut_torn(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("events.out.tfevents.") && name.ends_with(".moco") {
            Records::open(&path, whole_records)?;
        }
    }
    Ok(())
}

/// Bytes up to the end of the last whole record.
fn whole_records(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(length) = next_record(&bytes[whole..]) {
        whole += length;
    }
    whole
}

/// Bytes of the record that `bytes` begins with, if it is whole.
fn next_record(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<8>()?;
    let end = usize::try_from(u64::from_le_bytes(*head)).ok()?.checked_add(12)?;
    let (message, rest) = (bytes.get(12..end)?, bytes.get(end..)?);
    (*rest.first_chunk::<4>()? == masked_crc(message).to_le_bytes()).then_some(end + 4)
}

fn seconds_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// A message in its frame: length, checksum of the length, message, checksum of the message.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(message.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(message);
    record.extend(masked_crc(message).to_le_bytes());
    record
}

/// CRC-32C, rotated and offset, so that the checksum of data that holds checksums stays useful.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// `tensorflow.Event` messages in protobuf's wire format.
mod message {
    const DOUBLE: u64 = 1;
    const BYTES: u64 = 2;
    const FLOAT: u64 = 5;
    const VARINT: u64 = 0;

    /// The first message of every file. From version 2 on, a restart is announced by a session
    /// start.
    pub fn file_version(wall_time: f64) -> Vec<u8> {
        let mut event = event(wall_time, 0);
        bytes(&mut event, 3, b"brain.Event:2");
        event
    }

    /// Says that whatever was written for `step` and later is void.
    pub fn session_start(wall_time: f64, step: u64) -> Vec<u8> {
        let mut session = Vec::new();
        tag(&mut session, 1, VARINT);
        varint(&mut session, 1); // SessionLog.START
        let mut event = event(wall_time, step);
        bytes(&mut event, 7, &session);
        event
    }

    /// Named values of one step.
    pub fn scalars(wall_time: f64, step: u64, values: &[(&str, f64)]) -> Vec<u8> {
        let mut summary = Vec::new();
        for (name, scalar) in values {
            let mut value = Vec::new();
            bytes(&mut value, 1, name.as_bytes());
            tag(&mut value, 2, FLOAT);
            value.extend((*scalar as f32).to_le_bytes());
            bytes(&mut summary, 1, &value);
        }
        let mut event = event(wall_time, step);
        bytes(&mut event, 5, &summary);
        event
    }

    fn event(wall_time: f64, step: u64) -> Vec<u8> {
        let mut event = Vec::new();
        tag(&mut event, 1, DOUBLE);
        event.extend(wall_time.to_le_bytes());
        tag(&mut event, 2, VARINT);
        varint(&mut event, step);
        event
    }

    fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
        tag(out, field, BYTES);
        varint(out, content.len() as u64);
        out.extend(content);
    }

    fn tag(out: &mut Vec<u8>, field: u64, wire_type: u64) {
        varint(out, field << 3 | wire_type);
    }

    fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes written by `RecordWriter` and `event_pb2` of Python's tensorboard 2.21.
    #[test]
    fn a_record_is_byte_for_byte_that_of_tensorboard() {
        let expected = "2c00000000000000f4aecc4509000000000000f83f10ac022a1e0a110a0a747261696e2f6c\
                        6f737315000010400a090a026c72150000003fc09c6a4f";
        let ours = record(&message::scalars(1.5, 300, &[("train/loss", 2.25), ("lr", 0.5)]));
        let hex: String = ours.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn a_torn_record_is_cut_off_when_a_run_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::create(dir.path(), 0).unwrap();
        board.scalars(1, &[("train/loss", 2.0)]).unwrap();
        let path = board.path.clone();
        let whole = fs::read(&path).unwrap();
        for torn in [&b"\x2c\0"[..], &record(&message::scalars(1.0, 2, &[("lr", 1.0)]))[..30]] {
            fs::write(&path, [&whole, torn].concat()).unwrap();
            cut_torn(dir.path()).unwrap();
            assert!(fs::read(&path).unwrap() == whole);
        }
        assert_eq!(whole_records(&whole), whole.len());
    }
}
