//! What is noticed about samples, and said.

use super::label::Form;
use super::members::Member;
use crate::source::Holdings;
use crate::source::holdings::counted;
use crate::source::listing::Fnv;
use std::collections::BTreeMap;

/// What was noticed about the samples of all archives.
#[derive(Default)]
pub(super) struct Tally {
    pub further_images: usize,
    /// Names of an image that was taken and of one that was passed over for it.
    pub further_example: Option<(String, String)>,
    /// Label files that go with no image.
    pub lost_labels: usize,
    pub lost_example: Option<String>,
    /// Samples whose label files disagree.
    pub disagreeing: usize,
    pub disagreeing_example: Option<String>,
    /// Label files that hold no label, by why, with one of them.
    pub unusable: BTreeMap<String, (usize, String)>,
    /// Labels by form, with one of each.
    pub forms: BTreeMap<Form, (usize, String)>,
    /// Samples whose files do not lie together.
    pub scattered: usize,
    /// Hashes of the keys of each archive.
    pub keys: Vec<u64>,
}

impl Tally {
    /// Notes the key of a sample.
    pub(super) fn add_key(&mut self, key: &str) {
        let mut hash = Fnv::new();
        hash.feed(key.as_bytes());
        self.keys.push(hash.0);
    }

    /// Notes label files that go with no image.
    pub(super) fn lose(&mut self, members: &[Member], labels: &[usize]) {
        let lost = || labels.iter().map(|&i| &members[i]).filter(|member| member.has_label());
        self.lost_labels += lost().count();
        let first = lost().map(|member| &member.name).min().cloned();
        self.lost_example = self.lost_example.take().into_iter().chain(first).min();
    }

    /// Whether any image has a label.
    pub(super) fn has_labels(&self) -> bool {
        !self.forms.is_empty()
    }

    /// Says all that was noticed.
    pub(super) fn tell(mut self, holdings: &mut Holdings) {
        holdings.pass_over("further images of a sample", self.further_images);
        if let Some((taken, further)) = &self.further_example {
            holdings.note(format!(
                "one image is taken of each sample, whose files have the same name up to its first \
                 dot: `{taken}`, not `{further}` (`:source=images` behind the tar takes all)"
            ));
        }
        if let Some(example) = &self.lost_example {
            let files = counted(self.lost_labels, "label files");
            holdings.note(format!("{files} with no image, such as `{example}`"));
        }
        if let Some(example) = &self.disagreeing_example {
            let samples = counted(self.disagreeing, "samples");
            holdings.note(format!(
                "the label files of {samples} disagree; one is taken of each, such as `{example}`"
            ));
        }
        for (why, (count, example)) in &self.unusable {
            let files = counted(*count, "label files");
            holdings.note(format!("{files} with {why}, such as `{example}`"));
        }
        let form = |(form, (count, example)): (&Form, &(usize, String))| {
            format!("{count} are {} (`{example}`)", form.name())
        };
        if self.forms.len() > 1 {
            let forms: Vec<String> = self.forms.iter().map(form).collect();
            holdings.note(format!("labels are of several kinds: {}", forms.join(", ")));
        } else if let Some((_, example)) = self.forms.get(&Form::Fraction) {
            holdings.note(format!("labels are fractions (`{example}`), each taken as a class"));
        }
        if self.scattered > 0 {
            holdings.note(format!(
                "the files of {} do not lie together, which programs that stream tars take for \
                 several samples",
                counted(self.scattered, "samples")
            ));
        }
        self.keys.sort_unstable();
        let again = self.keys.chunk_by(|a, b| a == b).filter(|same| same.len() > 1).count();
        if again > 0 {
            let keys = counted(again, "keys");
            holdings.note(format!("{keys} in several tars at once, each time a sample of its own"));
        }
    }
}
