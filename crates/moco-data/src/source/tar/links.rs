//! Links within an archive, followed to the files and folders that they lead to.

use super::members::Member;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Links that lead to links, and folders of links within folders of links, at most.
const MAX_CHAIN: usize = 40;

/// Longest path that is followed, as on Linux.
const MAX_PATH: usize = 4096;

/// Memory that the files may take which all links to folders stand for: about a million files.
const MAX_MEMORY: usize = 1 << 28;

/// What a file takes beside its name, about.
const FILE_MEMORY: usize = 256;

/// A file or link, in the order of the archive.
pub(super) enum Item {
    File(Member),
    Link { name: String, target: Target },
}

/// Where a link says that it leads.
pub(super) enum Target {
    /// To a path of the archive; to a file before the link if it is a hard one.
    Inside {
        path: String,
        hard: bool,
    },
    Outside,
}

/// A link that leads to no file, and why.
pub(super) type Lost = (String, &'static str);

/// Files and links by name; of those of one name, the last.
#[derive(Default)]
struct Names<'a> {
    files: BTreeMap<&'a str, usize>,
    links: BTreeMap<&'a str, &'a Target>,
}

/// What a path leads to.
enum Found {
    File(usize),
    Folder(String),
    Nothing(&'static str),
}

/// All files, those that links lead to under the names of the links too, in the order of the
/// archive.
pub(super) fn follow(items: Vec<Item>) -> (Vec<Member>, Vec<Lost>) {
    if items.iter().all(|item| matches!(item, Item::File(_))) {
        let file = |item| match item {
            Item::File(member) => Some(member),
            Item::Link { .. } => None,
        };
        return (items.into_iter().filter_map(file).collect(), Vec::new());
    }
    let (names, bound) = Names::of(&items);
    let mut outcome = Outcome { left: MAX_MEMORY, ..Outcome::default() };
    for (i, item) in items.iter().enumerate() {
        match (item, bound[i]) {
            (Item::File(_), _) => outcome.files.push((None, i)),
            (Item::Link { name, .. }, Some(file)) => outcome.files.push((Some(name.clone()), file)),
            (Item::Link { name, target }, None) => {
                names.link(name.clone(), target, &mut vec![name], &mut outcome);
            }
        }
    }
    let member = |(name, i): (Option<String>, usize)| match &items[i] {
        Item::File(member) => Some(member.called(name.unwrap_or_else(|| member.name.clone()))),
        Item::Link { .. } => None,
    };
    (outcome.files.into_iter().filter_map(member).collect(), outcome.lost)
}

/// What has been found so far.
#[derive(Default)]
struct Outcome {
    /// Name, unless it is its own, and number of each file.
    files: Vec<(Option<String>, usize)>,
    lost: Vec<Lost>,
    /// Memory that is left for what links to folders stand for.
    left: usize,
}

impl Outcome {
    /// Takes memory for a file or link of this name; false if there is none left.
    fn reserve(&mut self, name: &str) -> bool {
        self.left = self.left.saturating_sub(FILE_MEMORY + name.len());
        self.left > 0
    }
}

impl<'a> Names<'a> {
    /// All names, and the file of each hard link that comes behind it, as unpacking binds it.
    fn of(items: &'a [Item]) -> (Names<'a>, Vec<Option<usize>>) {
        let mut names = Names::default();
        let mut bound = vec![None; items.len()];
        for (i, item) in items.iter().enumerate() {
            match item {
                Item::File(member) => names.add_file(&member.name, i),
                Item::Link { name, target } => {
                    let hard = match target {
                        Target::Inside { path, hard: true } => names.files.get(path.as_str()),
                        _ => None,
                    };
                    bound[i] = hard.copied();
                    match bound[i] {
                        Some(file) => names.add_file(name, file),
                        None => {
                            names.files.remove(name.as_str());
                            names.links.insert(name, target);
                        }
                    }
                }
            }
        }
        (names, bound)
    }

    fn add_file(&mut self, name: &'a str, i: usize) {
        self.links.remove(name);
        self.files.insert(name, i);
    }

    /// Adds what a link called `name` leads to. `chain` are the links that led to it and itself,
    /// by their own names.
    fn link(&self, name: String, target: &Target, chain: &mut Vec<&'a str>, out: &mut Outcome) {
        match self.find(target) {
            Found::File(i) => out.files.push((Some(name), i)),
            Found::Nothing(reason) => out.lost.push((name, reason)),
            Found::Folder(folder) => {
                let above = |link: &&str| is_below(link, &folder);
                if chain.iter().any(above) {
                    out.lost.push((name, "a link back to a folder above it"));
                } else if chain.len() > MAX_CHAIN {
                    out.lost.push((name, "too many links within links"));
                } else {
                    self.folder(&name, &folder, chain, out);
                }
            }
        }
    }

    /// Adds all that is below `folder` under `name`.
    fn folder(&self, name: &str, folder: &str, chain: &mut Vec<&'a str>, out: &mut Outcome) {
        let within =
            |path: &str| format!("{name}/{}", path[folder.len()..].trim_start_matches('/'));
        for (path, &i) in below(&self.files, folder) {
            let path = within(path);
            if !out.reserve(&path) {
                out.lost.push((name.to_string(), "links to folders stand for too many files"));
                return;
            }
            out.files.push((Some(path), i));
        }
        for (own, target) in below(&self.links, folder) {
            let path = within(own);
            if !out.reserve(&path) {
                return;
            }
            chain.push(own);
            self.link(path, target, chain, out);
            chain.pop();
        }
    }

    fn find(&self, target: &Target) -> Found {
        let Target::Inside { path, .. } = target else {
            return Found::Nothing("a link out of the archive");
        };
        let mut path = path.clone();
        for _ in 0..MAX_CHAIN {
            if path.len() > MAX_PATH {
                return Found::Nothing("a link whose path is too long");
            }
            if let Some(&i) = self.files.get(path.as_str()) {
                return Found::File(i);
            }
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            let mut link = ends.filter_map(|end| Some((end, *self.links.get(&path[..end])?)));
            match link.next() {
                Some((_, Target::Outside)) => return Found::Nothing("a link out of the archive"),
                Some((end, Target::Inside { path: target, .. })) => {
                    let whole = format!("{target}{}", &path[end..]);
                    path = whole.trim_start_matches('/').to_string();
                }
                None if self.is_folder(&path) => return Found::Folder(path),
                None => return Found::Nothing("a link to nothing in the archive"),
            }
        }
        Found::Nothing("links that lead in a circle")
    }

    fn is_folder(&self, path: &str) -> bool {
        below(&self.files, path).next().is_some() || below(&self.links, path).next().is_some()
    }
}

/// Whether a path is that of something in a folder, at whatever depth.
fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The entries of a folder and of those in it.
fn below<'m, 'a, T>(
    map: &'m BTreeMap<&'a str, T>,
    folder: &str,
) -> impl Iterator<Item = (&'a str, &'m T)> {
    let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let range = map.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded));
    range.map(|(path, value)| (*path, value)).take_while(move |(path, _)| path.starts_with(&start))
}

/// The path that a symbolic link leads to, from the folder that it is in.
pub(super) fn symbolic_target(link: &str, target: &str) -> Target {
    if target.starts_with('/') {
        return Target::Outside;
    }
    let folder = link.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Target::Outside;
                }
            }
            part => parts.push(part),
        }
    }
    Target::Inside { path: parts.join("/"), hard: false }
}
