use crate::{images, moco_line};
use moco_data::Dataset;

#[test]
fn a_sheet_of_views() {
    let (place, folder) = images(1);
    let outcome = moco_line("views {}/000.png --out {}/sheet.png --count 3", &folder);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("row 2: crop(32"), "{}", outcome.stdout);

    let sheet = Dataset::open(place.path()).unwrap();
    let sheet =
        sheet.load((0..sheet.len()).find(|&i| sheet.name(i).ends_with("sheet.png")).unwrap());
    let sheet = sheet.unwrap();
    // Two rows of the image and three draws, each of 32 pixels enlarged four times, and gaps.
    assert!((4 * 128..4 * 128 + 32).contains(&sheet.width), "{}", sheet.width);
    assert!((2 * 128..2 * 128 + 32).contains(&sheet.height), "{}", sheet.height);
}

#[test]
fn no_image_to_view() {
    let (_place, folder) = images(1);
    for (line, part) in [
        ("views {}/other.png --out {}/sheet.png", "does not exist"),
        ("views {} --out {}/sheet.png", "is a folder"),
        ("views {}/000.png --out {}/nowhere/sheet.png", "cannot write"),
        ("views {}/000.png --out {}/sheet.png --recipe none", "unknown recipe"),
    ] {
        let outcome = moco_line(line, &folder);
        assert_eq!(outcome.code, Some(1));
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
}
