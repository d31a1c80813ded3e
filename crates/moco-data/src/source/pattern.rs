//! Names of many files in one: `shard-{000..012}.tar`, `{train,val}-0.tar`, `shard-*.tar`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A range of more files than this is a slip of the pen.
const MAX_RANGE: u64 = 1_000_000;

/// All texts that a brace pattern stands for, in order; the text itself if it has no braces. Ranges
/// keep leading zeros. `None` if they are too many.
pub(super) fn expand_braces(pattern: &str) -> Option<Vec<String>> {
    let group = pattern.find('{').and_then(|open| {
        let close = open + pattern[open..].find('}')?;
        Some((&pattern[..open], alternatives(&pattern[open + 1..close])?, &pattern[close + 1..]))
    });
    let Some((head, middles, tail)) = group else { return Some(vec![pattern.to_string()]) };
    let middles = middles?;
    let tails = expand_braces(tail)?;
    if middles.len() as u64 * tails.len() as u64 > MAX_RANGE {
        return None;
    }
    let join = |middle: &String| {
        tails.iter().map(|tail| format!("{head}{middle}{tail}")).collect::<Vec<_>>()
    };
    Some(middles.iter().flat_map(join).collect())
}

/// What stands between braces: the inner `None` if it is too much, the outer one if it is nothing
/// of this kind.
fn alternatives(text: &str) -> Option<Option<Vec<String>>> {
    if let Some((first, last)) = text.split_once("..") {
        let (from, to): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let width = if first.starts_with('0') || last.starts_with('0') { first.len() } else { 0 };
        let fits = from <= to && to - from < MAX_RANGE;
        return Some(fits.then(|| (from..=to).map(|n| format!("{n:0width$}")).collect()));
    }
    text.contains(',').then(|| Some(text.split(',').map(String::from).collect()))
}

/// Files of a folder whose name matches a pattern of `*` and `?` in its last part, sorted.
pub(super) fn glob(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        if matches(&name, &entry.file_name().to_string_lossy()) {
            found.push(folder.map_or_else(
                || PathBuf::from(entry.file_name()),
                |folder| folder.join(entry.file_name()),
            ));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name matches a pattern of `*` and `?`.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on if what follows the last star turns out not to match.
    let mut retry = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n + 1));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match retry {
                Some((after_star, next)) => {
                    retry = Some((after_star, next + 1));
                    (p, n) = (after_star, next);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_ranges_and_lists() {
        let expand = |pattern| expand_braces(pattern).unwrap();
        assert_eq!(expand("a-{008..010}.tar"), ["a-008.tar", "a-009.tar", "a-010.tar"]);
        assert_eq!(expand("{9..10}"), ["9", "10"]);
        assert_eq!(expand("{x,y}{1..2}"), ["x1", "x2", "y1", "y2"]);
        assert_eq!(expand("no{thing}.tar"), ["no{thing}.tar"]);
        assert_eq!(expand("open{1..2"), ["open{1..2"]);
        assert_eq!(expand_braces("{0..99999999}"), None);
        assert_eq!(expand_braces("{3..2}"), None);
    }

    #[test]
    fn stars_match_any_run() {
        assert!(matches("a-*.tar", "a-12.tar"));
        assert!(matches("*.tar", ".tar"));
        assert!(matches("a*b*c", "a_bb_b_c"));
        assert!(matches("?.tar", "é.tar"));
        assert!(!matches("a-*.tar", "a-12.tar.gz"));
        assert!(!matches("?", ""));
        assert!(matches("*", ""));
    }
}
