//! The page as text: whole, closed to the world, and safe whatever images are called.

use moco_page::near::nearest;
use moco_page::page::{
    Check, Column, Curves, Gallery, Looks, Page, Picture, Run, Setting, Sprite, Strip, Study,
    Verdict, Views, Vitals,
};
use moco_page::{Rows, cluster, umap};

const HOSTILE: &str = "a/<img src=x onerror=alert(1)>.png\"'</script><!--";

/// A picture that no one decodes.
fn picture() -> Picture {
    Picture { width: 96, height: 48, format: "jpeg", bytes: vec![0xff, 0xd8, 0xff] }
}

fn rows(images: usize) -> Rows {
    let value = |i: usize| ((i * 7919 + i * i * 31) % 211) as f32 - 100.0;
    Rows::new((0..images * 6).map(value).collect(), 6).unit()
}

fn study(images: usize) -> Study {
    let rows = rows(images);
    let neighbours = nearest(&rows, umap::NEIGHBOURS - 1);
    let spectrum = (0..images.min(6)).map(|i| 9.0 / (i + 1) as f64).collect();
    let vitals = Vitals { images, dim: 6, spectrum, ..Vitals::default() };
    let strip =
        Strip { image: 0, picture: picture(), panels: vec!["image".into(), HOSTILE.into()] };
    Study {
        of: HOSTILE.to_owned(),
        points: umap::umap(&rows, &neighbours, 0),
        trust: None,
        clusters: cluster::k_means(&rows, 3, 0),
        neighbours,
        spectrum: vitals.spectrum.clone(),
        checks: vitals.checks(),
        looks: Looks { meaning: "Where it looks.".to_owned(), strips: vec![strip] },
        paintings: Vec::new(),
    }
}

fn page(images: usize, labelled: bool) -> Page {
    let mut run = Run::named(HOSTILE, "");
    run.curves = Curves::parse(
        "{\"kind\":\"step\",\"step\":1,\"loss\":3.0,\"lr\":0.1}\n\
         {\"kind\":\"epoch\",\"step\":4,\"epoch\":1,\"loss\":2.0,\"knn\":0.5}\n",
    );
    run.curves.chance = Some(3.2);
    run.facts = vec![("images".to_owned(), images.to_string())];
    run.warnings = vec![HOSTILE.to_owned()];
    run.study = Ok(study(images));
    run.views = vec![Views { caption: HOSTILE.into(), recipe: HOSTILE.into(), picture: picture() }];
    run.settings = vec![Setting {
        key: "data.path".to_owned(),
        value: HOSTILE.to_owned(),
        origin: "given".to_owned(),
    }];
    run.notes = vec![HOSTILE.to_owned()];
    run.bad_files = vec![(HOSTILE.to_owned(), HOSTILE.to_owned())];
    let column = Column {
        name: "class".to_owned(),
        values: vec![HOSTILE.to_owned(), "b".to_owned()],
        of: (0..images).map(|i| (i % 3 < 2).then_some((i % 3) as u32)).collect(),
    };
    let weight = Column {
        name: "weight".to_owned(),
        values: (0..images).map(|i| format!("{}", i * i)).collect(),
        of: (0..images as u32).map(Some).collect(),
    };
    let gallery = Gallery {
        source: HOSTILE.to_owned(),
        of: 2 * images,
        names: (0..images).map(|i| format!("{i}{HOSTILE}")).collect(),
        class: labelled.then_some(column),
        columns: vec![weight],
        sprite: Sprite { picture: picture(), tile: 48, columns: 2 },
    };
    Page {
        title: HOSTILE.to_owned(),
        made: "today".to_owned(),
        reload: None,
        runs: vec![run],
        gallery: Some(gallery),
    }
}

/// Elements that need no end.
const ALONE: [&str; 3] = ["meta", "img", "input"];
/// Elements whose end may be left out: it follows from what comes next.
const IMPLIED: [&str; 14] = [
    "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "option", "caption", "br", "html",
    "!doctype",
];

/// Every element is closed in order, and script and style are where they should be. What is between
/// tags of `script` and `style` is no markup.
fn check_nesting(html: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let raw = open.last().filter(|tag| ["script", "style", "textarea"].contains(&tag.as_str()));
        if let Some(raw) = raw
            && !rest.starts_with(&format!("/{raw}>"))
        {
            continue;
        }
        let end = tag_end(rest);
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '\n', '>']).next().unwrap();
        let name = name.to_ascii_lowercase();
        assert!(name.starts_with(|c: char| c.is_ascii_lowercase() || c == '!'), "<{tag}>");
        assert!(!tag.contains("onerror=alert(1)>"), "{tag}");
        if ALONE.contains(&name.as_str()) || IMPLIED.contains(&name.as_str()) {
            continue;
        }
        match tag.starts_with('/') {
            false => open.push(name),
            true => assert_eq!(open.pop().as_deref(), Some(name.as_str()), "</{name}>"),
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// Where a tag ends: the first `>` outside quotes.
fn tag_end(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return at,
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
    }
    panic!("a tag without an end: {}", &text[..text.len().min(80)]);
}

#[test]
fn elements_are_closed_in_order() {
    for (images, labelled) in [(40, true), (40, false), (1, false), (2, true)] {
        check_nesting(&page(images, labelled).html());
    }
}

#[test]
fn names_are_text_wherever_they_stand() {
    let html = page(40, true).html();
    assert!(!html.contains("<img src=x"), "a name became an element");
    assert!(!html.contains("alert(1)>"), "a name was not escaped");
    assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;"));
    // The data of the script ends where it should.
    let (_, data) = html.split_once("<script type=application/json id=data>").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["map"]["names"][3], format!("3{HOSTILE}"));
}

#[test]
fn nothing_is_fetched_from_anywhere() {
    let mut page = page(40, true);
    page.reload = Some(20);
    let html = page.html();
    assert!(html.contains("default-src 'none'"));
    for address in ["http:", "https:", "src=\"/", "href=\"/", "@import", "url(\"", "//cdn"] {
        assert!(!html.contains(address), "{address}");
    }
    for what in ["fetch(", "XMLHttpRequest", "WebSocket", "import(", "sendBeacon"] {
        assert!(!html.contains(what), "{what}");
    }
}

#[test]
fn a_run_of_which_little_is_known_has_a_page() {
    let run = Run::named("old", "The images are gone.");
    let page = Page { title: "old".to_owned(), runs: vec![run], ..Page::default() };
    let html = page.html();
    check_nesting(&html);
    assert!(html.contains("The images are gone."));
    assert!(!html.contains("id=neighbours"), "no section without its content");
    for anchor in ["curves", "map", "settings"] {
        assert!(html.contains(&format!("<section id={anchor}")), "{anchor}");
    }
}

#[test]
fn several_runs_are_told_apart() {
    let mut page = page(40, true);
    let mut second = page.runs[0].clone();
    second.name = "second".to_owned();
    page.runs.push(second);
    let html = page.html();
    check_nesting(&html);
    assert!(html.matches("second</h3>").count() >= 4, "a title in every section of both");
}

#[test]
fn a_check_says_what_to_change_only_when_something_is_wrong() {
    let mut page = page(40, false);
    let check = |verdict| Check {
        name: "Pulse".to_owned(),
        value: "60".to_owned(),
        verdict,
        meaning: "Beats.".to_owned(),
        mend: "Take a rest.".to_owned(),
    };
    let mut shown = |verdict| {
        page.runs[0].study.as_mut().unwrap().checks = vec![check(verdict)];
        page.html().contains("Take a rest.")
    };
    assert!(shown(Verdict::Ill) && shown(Verdict::Watch));
    assert!(!shown(Verdict::Healthy) && !shown(Verdict::Compare));
}

/// 2,000 images, names of 40 letters, tiles as large as a report allows: all but the pictures.
#[test]
fn two_thousand_images_take_little_beside_their_pictures() {
    let mut page = page(2000, true);
    let gallery = page.gallery.as_mut().unwrap();
    gallery.names = (0..2000).map(|i| format!("{i:040}")).collect();
    let size = page.html().len();
    assert!(size < 600_000, "{size}");
}
