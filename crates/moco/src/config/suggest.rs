//! "Did you mean": the nearest of the names there are.

/// A longer word, in bytes, is no slip, and takes long to compare.
const LONGEST: usize = 200;

/// The name most like `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase();
    let (distance, name) = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&word, &name.to_lowercase()), name))
        .min_by_key(|(distance, _)| *distance)?;
    // A third of the letters may differ: enough for slips and for a word left out.
    (distance <= (word.chars().count() / 3).max(1) && distance < word.chars().count())
        .then_some(name)
}
