//! Lists of paths: tables by the standard, plain lines, JSON, and what is said of them.

use crate::formats::golden;
use crate::support::{folder, names};
use moco_data::{DataError, Dataset};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const ODD: [&str; 4] = ["a,1.png", "b\"2.png", "c 3.png", "d.png"];

/// Opens a list of this text and name, in a folder of images.
fn list(root: &TempDir, name: &str, text: impl AsRef<[u8]>) -> Result<Dataset, DataError> {
    let (file, asked) = name.split_once(':').map_or((name, ""), |(file, asked)| (file, asked));
    fs::write(root.path().join(file), text).unwrap();
    let colon = if asked.is_empty() { "" } else { ":" };
    Dataset::open(Path::new(&format!("{}{colon}{asked}", root.path().join(file).display())))
}

fn message(opened: Result<Dataset, DataError>) -> String {
    match opened {
        Err(error) => error.to_string(),
        Ok(dataset) => panic!("opened: {}", dataset.holdings()),
    }
}

fn classes(dataset: &Dataset) -> Vec<&str> {
    let class = |i| dataset.label(i).map_or("", |label| &dataset.class_names()[label as usize]);
    (0..dataset.len()).map(class).collect()
}

fn said(dataset: &Dataset) -> String {
    dataset.holdings().to_string()
}

/// With an index, fields with commas, quotes and line breaks; with semicolons, a mark of the byte
/// order and carriage returns.
#[test]
fn tables_of_pandas_are_read() {
    let root = folder(&ODD);
    for name in ["pandas.csv", "semicolons.csv"] {
        let dataset = list(&root, name, fs::read(golden(name)).unwrap()).unwrap();
        assert_eq!(names(&dataset), ODD, "{name}");
        assert!((0..4).all(|i| dataset.load(i).unwrap().width == 17 + i), "{name}");
        let said = said(&dataset);
        assert!(
            said.starts_with("list, paths in column `filename`, labels in column `label`"),
            "{said}"
        );
        assert!(said.contains("1 of 4 rows has no label, such as that of line 4"), "{said}");
    }
    let whole = "label,filename\n\"red, big\",\"a,1.png\"\n\"the \"\"cat\"\"\",\"b\"\"2.png\"\n\"two\nlines\",d.png\n";
    let dataset = list(&root, "whole.csv", whole).unwrap();
    assert_eq!(classes(&dataset), ["red, big", "the \"cat\"", "two\nlines"]);
}

/// The tables that `moco embed` writes: paths alone, and paths, classes and values.
#[test]
fn tables_that_we_write_read_back() {
    let root = folder(&ODD);
    let paths = "path\n\"a,1.png\"\n\"b\"\"2.png\"\nc 3.png\nd.png\n";
    let dataset = list(&root, "f.paths.csv", paths).unwrap();
    assert_eq!(names(&dataset), ODD);
    assert_eq!(said(&dataset), "list, paths in column `path`, no labels");
    let values = "path,class,f0,f1\n\"a,1.png\",x y,0.5,-1e-3\nd.png,\"1,2\",0,7\n";
    let dataset = list(&root, "f.csv", values).unwrap();
    assert_eq!(names(&dataset), ["a,1.png", "d.png"]);
    assert_eq!(classes(&dataset), ["x y", "1,2"]);
}

#[test]
fn columns_are_found_by_their_heads() {
    let root = folder(&["1.png", "2.png", "3"]);
    let found = |name: &str, text: &str| {
        let dataset = list(&root, name, text).unwrap();
        (names(&dataset).join(" "), classes(&dataset).join(" "), said(&dataset))
    };
    let (paths, labels, _) = found("a.csv", "Label , Image_Path\n5, 1.png\n4, 2.png\n");
    assert_eq!((&*paths, &*labels), ("1.png 2.png", "5 4"));
    let (paths, labels, said) = found("b.tsv", "width\tfilename\tcls\tclass\n9\t3\tx\t7\n");
    assert_eq!((&*paths, &*labels), ("3", "x"));
    assert!(said.ends_with("other labels are in `class` (choose with `:labels=NAME`)"), "{said}");
    let (paths, labels, said) = found("c.csv", "image,breed\n1.png,pug\n2.png,pug\n");
    assert_eq!((&*paths, &*labels), ("1.png 2.png", " "));
    assert!(said.contains("not read: columns `breed` (if one holds labels"), "{said}");
    let (_, labels, _) = found("c.csv:labels=breed", "image,breed\n1.png,pug\n2.png,pug\n");
    assert_eq!(labels, "pug pug");
    let (paths, labels, said) = found("d.csv", "1.png,7\n2.png,8\n");
    assert_eq!((&*paths, &*labels), ("1.png 2.png", "7 8"));
    assert_eq!(said, "list, paths in column 1, labels in column 2");
    let (paths, labels, _) = found("d.csv", "1.png,photo\n2.png,name\n");
    assert_eq!((&*paths, &*labels), ("1.png 2.png", "photo name"));
    let (paths, labels, _) = found("d.txt", "1.png\tphoto\n2.png\tname\n");
    assert_eq!((&*paths, &*labels), ("1.png 2.png", "photo name"));
    let (paths, labels, said) = found("e.csv", "0,1.png,7\n1,2.png,8\n");
    assert_eq!((&*paths, &*labels), ("1.png 2.png", " "));
    assert!(said.contains("choose with `:labels=NUMBER`"), "{said}");
    let (_, labels, _) = found("e.csv:labels=3:column=2", "0,1.png,7\n1,2.png,8\n");
    assert_eq!(labels, "7 8");
    let (paths, labels, _) = found("f.csv", "name,image,label\ncat,1.png,0\ndog,2.png,1\n");
    assert_eq!((&*paths, &*labels), ("1.png 2.png", "0 1"));
    let (_, labels, _) = found("f.csv:labels=name", "name,image,label\ncat,1.png,0\ndog,2.png,1\n");
    assert_eq!(labels, "cat dog");
    let (paths, labels, _) = found("g.csv:labels=none", "id,photo of it,label\nx,1.png,5\n");
    assert_eq!((&*paths, &*labels), ("1.png", ""));
    let (paths, labels, _) = found("h.txt", "1.png,x\n2.png,y\n");
    assert_eq!((&*paths, &*labels), ("1.png 2.png", "x y"));
    let (paths, labels, _) = found("i.txt", "# head\nlabel\tpath\nx\t1.png\n# no\ny\t2.png\n");
    assert_eq!((&*paths, &*labels), ("1.png 2.png", "x y"));
}

#[test]
fn errors_of_tables_name_the_line() {
    let root = folder(&["1.png"]);
    let error = |name: &str, text: &str| {
        let error = message(list(&root, name, text));
        error.split_once("` ").unwrap().1.to_string()
    };
    assert_eq!(
        error("a.csv", "path,label\n1.png,x\na,1.png,x\n"),
        "has 3 fields in line 3 where the first line has 2; put double quotes around a field that \
         holds a separator"
    );
    for text in [
        "path,label\n1.png,\"x\ny\"\n1.png\n",
        "path,label\n1.png,\"x\ny\"\n1.png",
        "path,label\n\n1.png,x\n1.png\n1.png,x\n",
        "path,label\r\n1.png,x\r\n1.png,y\r\n1.png\r\n1.png,x\r\n",
        "path,label\r\n1.png,x\r\n1.png,y\r\n1.png",
        "path,label\n1.png,x\n1.png,y\n1.png,x,\"5\n\n\"\n",
    ] {
        let error = error("a.csv", text);
        assert!(error.contains(" fields in line 4 where"), "{text:?}: {error}");
    }
    let unclosed = "has a double quote without its end in line 3; close it, or write it twice if it \
                    is part of a field";
    assert_eq!(error("a.csv", "path,label\n1.png,x\n1.png,\"y\n1.png,x\n"), unclosed);
    assert_eq!(error("a.csv", "path,label\n1.png,x\n\"1.png,y\n1.png,x\n"), unclosed);
    assert_eq!(
        error("a.csv:column=p", "path,label\n1.png,x\n"),
        "has no column `p`; its columns are `path`, `label`"
    );
    assert_eq!(
        error("a.csv:labels=3", "1.png,x\n"),
        "has no column `3`; its columns have no heads but numbers, 1 to 2"
    );
    assert_eq!(
        error("a.csv", "id,breed\nx,pug\ny,pug\n"),
        "has no column of paths among `id`, `breed`; choose one with `:column=NAME`"
    );
    assert_eq!(
        error("a.txt", "1.png\tx\n1.png\tx\t3\n"),
        "has more than a path and a label in line 2; give the columns heads in the first line, such \
         as `path` and `label`"
    );
    assert_eq!(
        error("a.csv", "\u{0}"),
        "has no column of paths among `\u{0}`; choose one with `:column=NAME`"
    );
    let wide: Vec<u8> = "\u{feff}path\n1.png\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = message(list(&root, "a.csv", wide));
    assert!(error.ends_with("is a list in UTF-16; save it as UTF-8"), "{error}");
    assert!(matches!(list(&root, "a.csv", "path,label\n"), Err(DataError::Empty { .. })));
    assert!(matches!(list(&root, "a.csv", ""), Err(DataError::Empty { .. })));
}

#[test]
fn rows_without_path_or_label_are_counted() {
    let root = folder(&["1.png", "2.png"]);
    let dataset = list(&root, "a.csv", "path,label\n1.png,x\n,y\n2.png,\n,\n").unwrap();
    assert_eq!(names(&dataset), ["1.png", "2.png"]);
    let line = said(&dataset);
    assert!(line.contains("passed over: 2 rows without a path"), "{line}");
    assert!(line.contains("1 of 2 rows has no label, such as that of line 4"), "{line}");
    let dataset = list(&root, "a.csv", "path,label\n1.png,\n2.png,\n").unwrap();
    assert!(said(&dataset).ends_with("no row has a label"));
    let dataset = list(&root, "a.txt", "1.png 1 0 1\n2.png 0 0 1\n").unwrap();
    assert_eq!(dataset.label(0), None);
    assert!(said(&dataset).contains("2 rows have several labels, which are not read"));
}

#[test]
fn plain_lines_may_have_labels() {
    let root = folder(&["a 1.png", "b.png"]);
    let found = |text: &str| {
        let dataset = list(&root, "a.txt", text).unwrap();
        (names(&dataset).join("|"), classes(&dataset).join("|"))
    };
    assert_eq!(found("a 1.png\nb.png\n"), ("a 1.png|b.png".into(), "|".into()));
    assert_eq!(found("a 1.png 10\r\nb.png  9\r\n"), ("a 1.png|b.png".into(), "10|9".into()));
    assert_eq!(found("a 1.png red cat\nb.png dog"), ("a 1.png|b.png".into(), "red cat|dog".into()));
    assert_eq!(found("\u{feff}# x\nb.png\tred cat\n"), ("b.png".into(), "red cat".into()));
    let dataset = list(&root, "a.txt:labels=none", "b.png\tx\n").unwrap();
    assert_eq!((dataset.label(0), &*said(&dataset)), (None, "list of paths, no labels"));
}

#[test]
fn json_lines_are_read() {
    let root = folder(&["1.png", "2.png"]);
    let text = "{\"file_name\": \"1.png\", \"text\": \"a dog\", \"label\": 3}\n\n\
                {\"file_name\": \"2.png\", \"text\": \"a cat\", \"label\": 10}\n";
    let dataset = list(&root, "metadata.jsonl", text).unwrap();
    assert_eq!((names(&dataset), classes(&dataset)), (vec!["1.png", "2.png"], vec!["3", "10"]));
    assert_eq!(dataset.class_names(), ["3", "10"]);
    assert_eq!(said(&dataset), "list, paths in `file_name`, labels in `label`");
    let dataset = list(&root, "metadata.jsonl:labels=text", text).unwrap();
    assert_eq!(classes(&dataset), ["a dog", "a cat"]);
    let error = message(list(&root, "m.jsonl", "{\"file_name\": \"1.png\"}\n{\"file_"));
    assert!(error.ends_with("holds no JSON object in line 2; write one object a line"), "{error}");
    let error = message(list(&root, "m.jsonl", "{\"id\": 1, \"text\": \"x\"}\n"));
    assert!(error.contains("has no field of paths among `id`, `text`"), "{error}");
    let error = message(list(&root, "m.jsonl:column=x", text));
    assert!(error.contains("has no column `x`; its columns are"), "{error}");
    let error = message(list(&root, "m.jsonl", "{\"file_name\": 7}\n"));
    assert!(error.contains("holds a path that is not text in line 1"), "{error}");
}

#[test]
fn lists_that_lead_nowhere_say_where_they_would() {
    let root = folder(&["img/1.png", "lists/x.png", "img/2.jpeg"]);
    let end = |name: &str, text: &str| {
        let error = message(list(&root, name, text));
        let (problem, mend) = error.rsplit_once("; ").unwrap();
        assert!(problem.contains("leads to no file: "), "{error}");
        mend.to_string()
    };
    let above = format!("it does exist from `{}`, so move the list there", root.path().display());
    assert_eq!(end("lists/a.txt", "img/1.png\n"), above);
    assert_eq!(
        end("a.txt", "home/me/img/1.png 3\n"),
        "it does exist without `home/me`, so leave that out"
    );
    assert_eq!(end("a.csv", "path\nimg\\1.png\n"), "it does exist with `/` in place of `\\`");
    assert_eq!(
        end("a.csv", "path,label\nimg/2,x\n"),
        "it does exist with `.jpeg` behind it, so add that"
    );
    assert_eq!(
        end("a.txt", "7 img/1.png\n"),
        "`img/1.png` does exist, so write the path first and its label behind it"
    );
    assert_eq!(end("a.csv", "url\nhttps://a/1.png\n"), "download the images and list their paths");
    let none = message(list(&root, "a.txt", "none/1.png\nnone/2.png\n"));
    let words = "leads to no file: of its 2 paths, already the first, `none/1.png`, does not exist; \
                 paths count from `";
    assert!(none.contains(words), "{none}");

    let dataset = list(&root, "a.txt", "0.png\n00.png\nimg/1.png\n").unwrap();
    let line = "list of paths, no labels; the first 2 files, such as `0.png`, do not exist";
    assert_eq!((dataset.len(), &*said(&dataset)), (3, line));
}

#[cfg(unix)]
#[test]
fn names_of_lists_that_are_not_utf8_stay_apart_and_read_back() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let root = folder(&["1.png", "2.png"]);
    for (from, to) in [("1.png", b"\xe9%.png"), ("2.png", b"\xe8%.png")] {
        fs::rename(root.path().join(from), root.path().join(OsStr::from_bytes(to))).unwrap();
    }
    let dataset = list(&root, "a.csv", b"path,label\n\xe9%.png,\xe0\n\xe8%.png,\xe1\n").unwrap();
    assert_eq!(names(&dataset), ["%E9%25.png", "%E8%25.png"]);
    assert_eq!(dataset.class_names(), ["%E0", "%E1"]);
    let widths = |dataset: &Dataset| [0, 1].map(|i| dataset.load(i).unwrap().width);
    assert_eq!(widths(&dataset), [17, 18]);
    let back = list(&root, "b.csv", "path\n%E9%25.png\n%E8%25.png\n").unwrap();
    assert_eq!(widths(&back), [17, 18]);
}

#[cfg(unix)]
#[test]
fn what_a_list_names_must_be_a_file() {
    let root = folder(&["1.png"]);
    let dataset = list(&root, "a.txt", "1.png\n/dev/zero\n.\n").unwrap();
    for i in [1, 2] {
        let error = dataset.load(i).unwrap_err().to_string();
        assert!(error.ends_with("is not a file"), "{error}");
    }
}

/// A field of a name with a `#`, and a table whose first row is not there.
/// Without heads, whatever column the paths are in; of more than two, none is one of labels.
#[test]
fn paths_are_found_in_any_column_without_a_head() {
    let root = folder(&["a.png", "b.png"]);
    for text in ["0,cat,a.png\n1,dog,b.png\n", "0,1,2,a.png\n0,1,2,b.png\n"] {
        let dataset = list(&root, "columns.csv", text).unwrap();
        assert_eq!(names(&dataset), ["a.png", "b.png"], "{text}");
        assert_eq!(dataset.label(0), None, "{text}");
        assert!(said(&dataset).contains("none is known as that of labels"), "{}", said(&dataset));
    }
}

#[test]
fn tables_know_no_comments() {
    let root = folder(&["#1.png", "2.png"]);
    let dataset = list(&root, "a.csv", "path\n#1.png\n2.png\n").unwrap();
    assert_eq!(names(&dataset), ["#1.png", "2.png"]);
    let dataset = list(&root, "a.csv", "path\nlost\n2.png\n").unwrap();
    assert_eq!(names(&dataset), ["lost", "2.png"]);
}
