//! Samples in WebDataset's naming: which files belong together, which of a sample's images is
//! taken, and what its label is.
//!
//! Files `KEY.EXT` of one key are one sample. The key is the path up to the first dot of the file's
//! name, as `webdataset` has it. Of a sample's images, the one is taken whose extension has the
//! fewest dots (`KEY.jpg` before `KEY.left.jpg`), then the one whose format comes first in
//! [`FORMATS`], then the first of the archive. Its label is in the `.cls` or else `.json` file of the
//! image's own name, else of the key, else in the sample's only label file.

use super::label::{Form, Label};
use super::members::Member;
use super::tally::Tally;
use std::collections::{HashMap, HashSet};

/// Formats in the order in which they are preferred.
const FORMATS: [&str; 9] = ["jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif", "ppm"];

/// What `webdataset` keeps for itself: files of its own, and folders of them.
pub(super) fn is_reserved(name: &str) -> bool {
    let (first, _) = name.split_once('/').unwrap_or((name, ""));
    first.len() > 4 && first.starts_with("__") && first.ends_with("__")
}

/// What the files of one sample have in common.
pub(super) fn key(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    name[file..].find('.').map_or(name, |dot| &name[..file + dot])
}

/// A name without its last extension.
fn stem(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    name[file..].rfind('.').map_or(name, |dot| &name[..file + dot])
}

/// What follows a key and its dot.
fn extension(name: &str) -> &str {
    name.get(key(name).len() + 1..).unwrap_or("")
}

/// Whether one archive is of samples, and no mere tree of images: if a `.cls` file, or a `.json` or
/// `.txt` file with no second dot in its name, has the key of an image.
pub(super) fn are_samples(members: &[Member]) -> bool {
    let tells = |member: &&Member| {
        let extension = extension(&member.name);
        let last = extension.rsplit('.').next().unwrap_or("");
        last.eq_ignore_ascii_case("cls")
            || ["json", "txt"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    };
    let telling: HashSet<&str> =
        members.iter().filter(tells).map(|member| key(&member.name)).collect();
    let mut images = members.iter().filter(|member| member.is_image());
    !telling.is_empty() && images.any(|image| telling.contains(key(&image.name)))
}

/// An image that was taken: its number among the members, and its label.
pub(super) type Chosen = (usize, Option<String>);

#[derive(Default)]
struct Sample {
    /// The image to take, by how much it is preferred.
    best: Option<(Rank, usize)>,
    images: usize,
    labels: Vec<usize>,
}

/// Dots in the extension, place of the format, number of the member: the least is taken.
type Rank = (usize, usize, usize);

impl Tally {
    /// Counts samples whose files do not lie together, of members in the order of their archive.
    pub(super) fn count_scattered(&mut self, members: &[Member]) {
        let (mut seen, mut again) = (HashSet::new(), HashSet::new());
        for files in members.chunk_by(|a, b| key(&a.name) == key(&b.name)) {
            let key = key(&files[0].name);
            if !seen.insert(key) {
                again.insert(key);
            }
        }
        self.scattered += again.len();
    }

    /// One image of each sample of an archive, in the order of the members.
    pub(super) fn choose(&mut self, members: &[Member]) -> Vec<Chosen> {
        let mut samples: HashMap<&str, Sample> = HashMap::new();
        for (i, member) in members.iter().enumerate() {
            if member.is_image() {
                let sample = samples.entry(key(&member.name)).or_default();
                sample.images += 1;
                let rank = rank(&member.name, i);
                if sample.best.is_none_or(|(best, _)| rank < best) {
                    sample.best = Some((rank, i));
                }
            } else if member.label.is_some() {
                samples.entry(key(&member.name)).or_default().labels.push(i);
            }
        }
        let mut taken: Vec<(usize, &Sample)> = Vec::new();
        for (key, sample) in &samples {
            let Some((_, image)) = sample.best else {
                self.lose(members, &sample.labels);
                continue;
            };
            self.add_key(key);
            self.further_images += sample.images - 1;
            taken.push((image, sample));
        }
        taken.sort_unstable_by_key(|(image, _)| *image);
        let label = |(i, sample): (usize, &Sample)| (i, self.label(members, i, &sample.labels));
        let chosen = taken.into_iter().map(label).collect();
        if self.further_example.is_none() && self.further_images > 0 {
            self.further_example = further_example(members, &samples);
        }
        chosen
    }

    /// Every image of an archive, with the label in the file of its own name.
    pub(super) fn all(&mut self, members: &[Member]) -> Vec<Chosen> {
        let mut labels: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, member) in members.iter().enumerate().filter(|(_, member)| member.label.is_some()) {
            labels.entry(stem(&member.name)).or_default().push(i);
        }
        let (mut chosen, mut named) = (Vec::new(), HashSet::new());
        for (i, image) in members.iter().enumerate().filter(|(_, member)| member.is_image()) {
            let own = stem(&image.name);
            let files = labels.get(own).map_or(&[][..], Vec::as_slice);
            chosen.push((i, self.label(members, i, files)));
            if !files.is_empty() {
                named.insert(own);
            }
        }
        labels.retain(|own, _| !named.contains(own));
        let lost: Vec<usize> = labels.into_values().flatten().collect();
        self.lose(members, &lost);
        chosen
    }

    /// The label of an image, of the label files of its sample.
    fn label(&mut self, members: &[Member], image: usize, labels: &[usize]) -> Option<String> {
        let name = &members[image].name;
        let rank = |&i: &usize| {
            let file = &members[i].name;
            let own = match stem(file) {
                own if own == stem(name) => 0,
                own if own == key(name) => 1,
                _ => 2,
            };
            (own, file.ends_with("json") || file.ends_with("JSON"), i)
        };
        let mut usable: Vec<usize> = Vec::new();
        for &i in labels {
            match &members[i].label {
                Some(Label::Class(_)) => usable.push(i),
                Some(Label::Unusable(why)) => {
                    let of_kind = self.unusable.entry(why.clone());
                    of_kind.or_insert_with(|| (0, members[i].name.clone())).0 += 1;
                }
                Some(Label::None) | None => {}
            }
        }
        let best = usable.iter().copied().min_by_key(rank)?;
        let class = members[best].label.clone();
        if usable.iter().any(|&i| members[i].label != class) {
            self.disagreeing += 1;
            self.disagreeing_example.get_or_insert_with(|| members[best].name.clone());
        }
        let Some(Label::Class(class)) = class else { return None };
        let of_form = self.forms.entry(Form::of(&class));
        of_form.or_insert_with(|| (0, class.clone())).0 += 1;
        Some(class)
    }
}

fn rank(name: &str, i: usize) -> Rank {
    let extension = extension(name).to_ascii_lowercase();
    let last = extension.rsplit('.').next().unwrap_or("");
    let place = FORMATS.iter().position(|known| *known == last).unwrap_or(FORMATS.len());
    (extension.matches('.').count(), place, i)
}

/// The first image that was passed over, behind the one that was taken for it.
fn further_example(
    members: &[Member],
    samples: &HashMap<&str, Sample>,
) -> Option<(String, String)> {
    let images = members.iter().enumerate().filter(|(_, member)| member.is_image());
    let further = |(i, member): (usize, &Member)| {
        let (_, best) = samples.get(key(&member.name))?.best?;
        (best != i).then(|| (members[best].name.clone(), member.name.clone()))
    };
    images.filter_map(further).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_at_the_first_dot_of_the_file_name() {
        for (name, expected) in [
            ("a.b/c.left.jpg", ("a.b/c", "left.jpg")),
            ("000.jpg", ("000", "jpg")),
            ("a.b/c", ("a.b/c", "")),
            ("photo v1.0.jpg", ("photo v1", "0.jpg")),
            ("a.", ("a", "")),
        ] {
            assert_eq!((key(name), extension(name)), expected);
        }
        assert_eq!((stem("a.b/c"), stem("a.b/c.left.jpg")), ("a.b/c", "a.b/c.left"));
    }

    /// The one difference: a name without a dot is a key, and no file that is passed over.
    #[test]
    fn keys_are_those_of_webdataset() {
        let file =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/sources/webdataset-keys.json");
        let rows: Vec<(String, Option<String>, Option<String>)> =
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        assert!(rows.len() > 10);
        for (name, expected, rest) in rows {
            assert_eq!(key(&name), expected.as_deref().unwrap_or(&name));
            assert_eq!(extension(&name), rest.as_deref().unwrap_or(""), "{name}");
        }
    }

    #[test]
    fn what_webdataset_keeps_for_itself_is_known() {
        assert!(is_reserved("__meta__") && is_reserved("__cache__/1.jpg"));
        assert!(!is_reserved("____") && !is_reserved("__a.jpg") && !is_reserved("a/__b__/1.jpg"));
    }
}
