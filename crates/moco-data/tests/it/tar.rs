//! Tars as they occur: links, files with holes, several archives in one file, names of every kind,
//! and damage.

use crate::formats::golden;
use crate::support::{Archive, names};
use flate2::read::GzDecoder;
use moco_data::{Dataset, Image};
use std::fs::{self, File};
use std::io::Read;
use tempfile::tempdir;

/// The image `bmp(rows)` of `make_tars.py`.
fn bmp(rows: usize) -> Vec<u8> {
    let mut bytes = vec![0; 512 * (rows + 1)];
    let words = |number: u32| number.to_le_bytes();
    bytes[..2].copy_from_slice(b"BM");
    for (at, number) in [
        (2, 512 * (rows as u32 + 1)),
        (10, 512),
        (14, 40),
        (18, 170),
        (22, (rows as u32).wrapping_neg()),
        (26, 1 | 24 << 16),
        (34, 512 * rows as u32),
    ] {
        bytes[at..at + 4].copy_from_slice(&words(number));
    }
    for row in (0..rows.min(60)).step_by(2) {
        for x in 0..510 {
            bytes[512 * (row + 1) + x] = ((1 + row * 7 + x * 3) % 256) as u8;
        }
    }
    bytes
}

/// What the image decodes to.
fn pixels(rows: usize) -> Image {
    Dataset::from_bytes("x.bmp", bmp(rows)).unwrap().load(0).unwrap()
}

fn unpacked(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(golden(name)).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn open(archive: Vec<u8>) -> Dataset {
    Dataset::from_bytes("x.tar", archive).unwrap()
}

fn message(archive: Vec<u8>) -> String {
    Dataset::from_bytes("x.tar", archive).err().unwrap().to_string()
}

/// Names that were left out, each with the reason.
fn skipped(dataset: &Dataset) -> Vec<(&str, &str)> {
    dataset.skipped().iter().map(|s| (s.name.as_str(), s.reason.as_str())).collect()
}

/// As GNU tar writes them, in all four ways; more than 21 runs go beyond one block of the oldest.
#[test]
fn files_with_holes_are_read_whole() {
    for way in ["gnu", "pax-0.0", "pax-0.1", "pax-1.0"] {
        let dataset = open(unpacked(&format!("sparse-{way}.tar.gz")));
        assert_eq!(names(&dataset), ["holes.bmp", "small.bmp"], "{way}");
        assert_eq!(dataset.load(0).unwrap(), pixels(100), "{way}");
        assert_eq!(dataset.load(1).unwrap(), pixels(3), "{way}");
        assert!(dataset.skipped().is_empty() && dataset.holdings().notes.is_empty(), "{way}");
    }
}

#[test]
fn a_damaged_map_of_holes_is_named_and_the_rest_is_read() {
    let whole = unpacked("sparse-pax-0.1.tar.gz");
    let at = whole.windows(15).position(|w| w == b"GNU.sparse.map=").unwrap() + 15;
    let mut damaged = whole;
    damaged[at..at + 6].copy_from_slice(b"9,9999");
    let dataset = open(damaged);
    assert_eq!(names(&dataset), ["small.bmp"]);
    assert_eq!(skipped(&dataset), [("holes.bmp", "a file with holes whose map is damaged")]);
}

/// As GNU tar writes them.
#[test]
fn links_within_the_archive_are_followed() {
    let dataset = open(unpacked("links.tar.gz"));
    let expected = ["a/1.bmp", "b/chain.bmp", "b/hard.bmp", "b/soft.bmp", "c/all/1.bmp"];
    assert_eq!(names(&dataset), expected);
    for i in 0..dataset.len() {
        assert_eq!(dataset.load(i).unwrap(), pixels(3), "{}", dataset.name(i));
    }
    assert_eq!(dataset.class_names(), ["a", "b", "c"]);
    let mut left_out = skipped(&dataset);
    left_out.sort_unstable();
    assert_eq!(
        left_out,
        [
            ("b/circle.bmp", "links that lead in a circle"),
            ("b/lost.bmp", "a link to nothing in the archive"),
            ("b/out.bmp", "a link out of the archive"),
            ("c/back", "a link back to a folder above it"),
            ("c/pipe.bmp", "a pipe or device"),
        ]
    );
}

/// A hard link is to the file that was there before it; a symbolic one to what is there at last.
#[test]
fn links_mean_what_unpacking_gives() {
    let mut archive = Archive::default();
    archive
        .file("a.bmp", &bmp(1))
        .link(b'1', "hard.bmp", "./a.bmp")
        .link(b'2', "soft.bmp", "a.bmp");
    archive.link(b'1', "second.bmp", "hard.bmp").file("a.bmp", &bmp(2));
    archive.file("1.cls", b"7").link(b'1', "2.cls", "1.cls");
    let dataset = open(archive.end());
    assert_eq!(names(&dataset), ["a.bmp", "hard.bmp", "second.bmp", "soft.bmp"]);
    let rows: Vec<_> = (0..4).map(|i| dataset.load(i).unwrap().height).collect();
    assert_eq!(rows, [2, 1, 1, 2]);
    let replaced = "files that a later one of the same name replaces";
    assert_eq!(dataset.holdings().passed_over[replaced], 1);
}

/// Each folder has two links to the next: 2^30 ways to the file, of which no reader takes all.
#[test]
fn links_to_folders_have_a_bound() {
    let mut archive = Archive::default();
    archive.file("30/x.bmp", &bmp(1));
    for i in 0..30 {
        for side in ["l", "r"] {
            archive.link(b'2', &format!("{i:02}/{side}"), &format!("../{:02}", i + 1));
        }
    }
    let dataset = open(archive.end());
    assert!(dataset.len() > 1000 && dataset.len() < 3_000_000, "{}", dataset.len());
    let too_many = "links to folders stand for too many files";
    assert!(dataset.skipped().iter().any(|skipped| skipped.reason == too_many));
}

/// A second file that a link repeats is data in some programs' archives, and is not in others'.
#[test]
fn hard_links_may_carry_their_size_or_their_data() {
    for with_data in [false, true] {
        let mut archive = Archive::default();
        archive.file("1.bmp", &bmp(1));
        archive.raw(b'1', b"2.bmp", b"1.bmp", bmp(1).len() as u64);
        if with_data {
            archive.data(&bmp(1));
        }
        archive.file("3.bmp", &bmp(3));
        let dataset = open(archive.end());
        assert_eq!(names(&dataset), ["1.bmp", "2.bmp", "3.bmp"], "{with_data}");
        assert_eq!(dataset.load(1).unwrap(), pixels(1));
    }
}

#[test]
fn what_follows_the_end_mark_is_read() {
    let part = |names: [&str; 2], rows: usize| {
        let mut archive = Archive::default();
        archive.file(names[0], &bmp(rows)).file(names[1], &bmp(rows));
        archive.end()
    };
    let both = [part(["1.bmp", "2.bmp"], 1), part(["2.bmp", "3.bmp"], 2)].concat();
    let dataset = open(both.clone());
    assert_eq!(names(&dataset), ["1.bmp", "2.bmp", "3.bmp"]);
    assert_eq!(dataset.load(1).unwrap(), pixels(2), "the later one, as when unpacked");
    assert!(dataset.holdings().notes.is_empty());
    assert!(dataset.holdings().passed_over.values().eq(&[1]));

    let dataset = open([both, b"signature".to_vec()].concat());
    assert_eq!(dataset.len(), 3);
    let note = "9 bytes behind the end mark are of no tar and are left out";
    assert_eq!(dataset.holdings().notes, [note]);
}

#[test]
fn a_tar_without_end_mark_says_so() {
    let mut archive = Archive::default();
    let whole = archive.file("1.bmp", &bmp(1)).bytes.clone();
    let dataset = open(whole.clone());
    assert_eq!(dataset.holdings().notes, ["1 tar without an end mark, maybe cut short"]);

    let root = tempdir().unwrap();
    fs::write(root.path().join("0.tar"), &whole).unwrap();
    fs::write(root.path().join("1.tar"), archive.end()).unwrap();
    let dataset = Dataset::open(root.path()).unwrap();
    let note = "1 tar without an end mark, maybe cut short".to_string();
    assert!(dataset.holdings().notes.contains(&note), "{}", dataset.holdings());
}

/// However early it was cut: a beginning is no archive without files.
#[test]
fn a_tar_cut_off_before_its_first_file_is_not_whole() {
    let mut archive = Archive::default();
    archive.raw(b'5', b"photos/", b"", 0).file("photos/1.bmp", &bmp(1));
    let whole = archive.end();
    for length in 0..=1024 + 100 {
        let error = Dataset::from_bytes("x.tar", whole[..length].to_vec()).err();
        let told = error.unwrap_or_else(|| panic!("{length} bytes pass")).to_string();
        assert!(told.contains("not a whole .tar"), "{length} bytes: {told}");
    }
    // One that was made without files is.
    let empty = Dataset::from_bytes("x.tar", vec![0; 1024]).err().unwrap().to_string();
    assert!(empty.contains("holds no files"), "{empty}");
}

#[test]
fn names_that_lead_out_are_refused_by_name() {
    let mut archive = Archive::default();
    archive.file("a/../../x.bmp", &bmp(1)).file("../notes.txt", b"").file("/b/./y.bmp", &bmp(2));
    archive.file("//c//z.bmp", &bmp(3)).link(b'2', "d.bmp", "../../etc/x").file("..e/f.bmp", b"");
    let dataset = open(archive.end());
    assert_eq!(names(&dataset), ["b/y.bmp", "c/z.bmp"]);
    let reason = "its name leads out of the archive";
    let expected = [("a/../../x.bmp", reason), ("d.bmp", "a link out of the archive")];
    assert_eq!(skipped(&dataset), expected);
    let holdings = dataset.holdings();
    let left_out = format!("2 files left out, such as `a/../../x.bmp` ({reason})");
    assert_eq!(holdings.notes, ["the first `/` is left out of 2 names", &left_out]);
    assert_eq!((holdings.passed_over["texts"], holdings.passed_over["hidden files"]), (1, 1));
}

#[test]
fn names_of_every_format_are_whole_and_distinct() {
    let long = format!("{}/x.bmp", "n".repeat(300));
    let mut archive = Archive::default();
    archive.raw(b'L', b"././@LongLink", b"", long.len() as u64 + 1);
    archive.data(format!("{long}\0").as_bytes()).file("n", &bmp(1));
    // Values with line breaks and any bytes, between which the path is found.
    let path = "p\nq/ü.bmp";
    let record = |text: &[u8]| {
        let length = (text.len() + 3..).find(|n| n.to_string().len() + 2 + text.len() == *n);
        [length.unwrap().to_string().as_bytes(), b" ", text, b"\n"].concat()
    };
    let records = [
        record(b"SCHILY.xattr.user.x=\n\xff\n"),
        record(format!("path={path}").as_bytes()),
        record(format!("size={}", bmp(1).len()).as_bytes()),
    ]
    .concat();
    archive.raw(b'x', b"header", b"", records.len() as u64).data(&records);
    archive.raw(b'0', b"p", b"", 0).data(&bmp(1));
    archive.raw(b'0', b"q/caf\xe9 5%.bmp", b"", bmp(1).len() as u64).data(&bmp(1));
    archive.raw(b'0', b"q/caf\xe8 5%.bmp", b"", bmp(2).len() as u64).data(&bmp(2));
    archive.raw(b'0', b"q/5%.bmp", b"", bmp(3).len() as u64).data(&bmp(3));
    let dataset = open(archive.end());
    let mut found = names(&dataset);
    found.sort_unstable();
    let mut expected = [&long, path, "q/caf%E9 5%25.bmp", "q/caf%E8 5%25.bmp", "q/5%.bmp"];
    expected.sort_unstable();
    assert_eq!(found, expected);
    for i in 0..dataset.len() {
        dataset.load(i).unwrap();
    }
}

/// Headers of before there was a standard, sizes in base 256, and types that are rare.
#[test]
fn odd_headers_are_read_or_counted() {
    let size = bmp(1).len() as u64;
    let mut archive = Archive::default();
    archive.old_header("old/", 0).old_header("old/1.bmp", size).data(&bmp(1));
    archive.raw(b'7', b"contiguous.bmp", b"", size).data(&bmp(1));
    archive.base_256("large.bmp", size).data(&bmp(1));
    archive.raw(b'g', b"global", b"", 9).data(b"9 x=abcd\n");
    archive.raw(b'V', b"the volume's name", b"", 0);
    archive.raw(b'M', b"x.bmp", b"", 5).data(b"rest.");
    archive.raw(b'3', b"null.bmp", b"", 0).raw(b'6', b"pipe", b"", 0).raw(b'5', b"d.bmp/", b"", 0);
    archive
        .file("sniffed", &bmp(2))
        .file("text", b"hello")
        .file("IMG.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    let dataset = open(archive.end());
    assert_eq!(names(&dataset), ["contiguous.bmp", "large.bmp", "old/1.bmp", "sniffed"]);
    for i in 0..4 {
        dataset.load(i).unwrap();
    }
    let reason = "a pipe or device";
    assert_eq!(skipped(&dataset), [("null.bmp", reason), ("pipe", reason)]);
    let counts: Vec<_> =
        dataset.holdings().passed_over.iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
    assert_eq!(counts, [("HEIC images", 1), ("members of unknown types", 1), ("texts", 1)]);
}

#[test]
fn damage_says_where_it_is() {
    let mut archive = Archive::default();
    archive.file("a/1.bmp", &bmp(1)).file("a/2.bmp", &bmp(3));
    let whole = archive.end();
    let said = |bytes: Vec<u8>, expected: &str| {
        let message = message(bytes);
        assert!(message.contains(expected), "{message}");
    };
    said(whole[..3000].to_vec(), "it ends within `a/2.bmp`, of whose 2048 bytes 952 are there");
    said(whole[..1800].to_vec(), "it ends at byte 1536, behind `a/1.bmp`, within a header");
    let mut wrong = whole.clone();
    wrong[1540] ^= 1;
    said(wrong, "at byte 1536, behind `a/1.bmp`, there is no header of a member");
    said(b"\x1f\x8b\x08\0".repeat(200), "it is packed with gzip (name it .tar.gz)");
    let mut archive = Archive::default();
    archive.raw(b'x', b"header", b"", 9).data(b"99 x=abc\n").file("1.bmp", &bmp(1));
    said(archive.end(), "the extended header at byte 0 is damaged");
    let mut archive = Archive::default();
    said(archive.raw(b'L', b"name", b"", 5).data(b"a.bmp").end(), "before its member");
    let mut archive = Archive::default();
    archive.raw(b'L', b"name", b"", 1 << 40);
    said(archive.end(), "claims 1099511627776 bytes");
}

#[test]
fn a_tar_of_nothing_but_lost_links_says_so() {
    let mut archive = Archive::default();
    archive.link(b'1', "a.bmp", "b.bmp").link(b'2', "c.bmp", "/d.bmp");
    let message = message(archive.end());
    let expected = "2 files left out, such as `a.bmp` (a link to nothing in the archive)";
    assert!(message.contains(expected), "{message}");
}

/// Names begin with the archive's, which must tell archives of equal names apart.
#[test]
fn archives_of_one_name_in_several_folders_stay_apart() {
    let root = tempdir().unwrap();
    for folder in ["a", "b"] {
        fs::create_dir(root.path().join(folder)).unwrap();
        let mut archive = Archive::default();
        archive.file("1.bmp", &bmp(1));
        fs::write(root.path().join(folder).join("0.tar"), archive.end()).unwrap();
    }
    let dataset = Dataset::open(&root.path().join("{a,b}/0.tar")).unwrap();
    assert_eq!(names(&dataset), ["a/0.tar/1.bmp", "b/0.tar/1.bmp"]);
}
