//! The text form of a view, split into calls: `name(argument, argument; key=value)`.
//!
//! Within the parentheses, commas, semicolons and spaces all separate, and `key=` opens a list
//! that later arguments without a key belong to, as in `mean=0.5,0.5,0.5 std=0.2,0.2,0.2`.

use super::text::USAGE;
use thiserror::Error;

/// Why a text is not a view. Columns count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseViewError {
    /// There is no such operation.
    #[error("`{name}` at column {column} is no operation; {}", suggestion(nearest))]
    Unknown {
        /// The word in its place.
        name: String,
        /// Where it starts.
        column: usize,
        /// The operation whose name is close, if any.
        nearest: Option<&'static str>,
    },
    /// An argument of the wrong kind or range.
    #[error("`{found}` at column {column} is not {expected}; the form is `{usage}`")]
    Argument {
        /// The argument.
        found: String,
        /// Where it starts.
        column: usize,
        /// What should stand there.
        expected: &'static str,
        /// The operation's form.
        usage: &'static str,
    },
    /// Too few arguments.
    #[error("`{name}` at column {column} lacks {expected}; the form is `{usage}`")]
    Missing {
        /// The operation.
        name: String,
        /// Where it starts.
        column: usize,
        /// What is missing.
        expected: &'static str,
        /// The operation's form.
        usage: &'static str,
    },
    /// An argument that the operation does not take.
    #[error("`{found}` at column {column} has no meaning there; the form is `{usage}`")]
    Excess {
        /// The argument.
        found: String,
        /// Where it starts.
        column: usize,
        /// The operation's form.
        usage: &'static str,
    },
    /// A character out of place.
    #[error("column {column} needs {expected}")]
    Syntax {
        /// Where it is.
        column: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// `normalize` before the end.
    #[error(
        "`normalize` at column {column} must be the last operation, but for one `erase` behind it; \
         move it to the end"
    )]
    NormalizeNotLast {
        /// Where it starts.
        column: usize,
    },
    /// `range` behind another operation.
    #[error(
        "`range` at column {column} must be the first operation, for it says how files become 8 \
         bits; move it to the front"
    )]
    RangeNotFirst {
        /// Where it starts.
        column: usize,
    },
    /// `erase` before the end.
    #[error("`erase` at column {column} must be the last operation; move it to the end")]
    EraseNotLast {
        /// Where it starts.
        column: usize,
    },
    /// A colour space before the end.
    #[error(
        "`{name}` at column {column} must be the last operation but `normalize` and `erase`; the \
         others work on RGB"
    )]
    SpaceNotLast {
        /// The colour space.
        name: String,
        /// Where it starts.
        column: usize,
    },
    /// Statistics of another colour space.
    #[error(
        "`normalize` at column {column} has statistics of {expected}, but the pixels are {found}; \
         use {}, or `mean=` and `std=` of your own",
        if *found == "rgb" { "another name".into() } else { format!("`normalize({found})`") }
    )]
    NormalizeSpace {
        /// Where it starts.
        column: usize,
        /// The space of the statistics.
        expected: &'static str,
        /// The space of the pixels.
        found: &'static str,
    },
    /// Patches of patches.
    #[error("`patches` at column {column} is the second one; a view is cut into patches once")]
    PatchesTwice {
        /// Where it starts.
        column: usize,
    },
    /// Not one patch fits.
    #[error(
        "`patches` at column {column} are larger than the image of {height}x{width} pixels that \
         they are cut from; make them smaller, or the image larger"
    )]
    PatchesTooLarge {
        /// Where it starts.
        column: usize,
        /// Rows of the image.
        height: usize,
        /// Columns of the image.
        width: usize,
    },
    /// A view that is to be repeated too often, or never.
    #[error("column {column} needs a number of repetitions in 1..64, as in `6x crop(96)`")]
    Repeats {
        /// Where it starts.
        column: usize,
    },
    /// Images of different sizes would leave with different sizes.
    #[error("the view leaves the size of its output open; add `crop(S)` or `center(S)`")]
    OpenSize,
}

fn suggestion(nearest: &Option<&str>) -> String {
    match nearest {
        Some(name) => format!("did you mean `{name}`?"),
        None => {
            let names: Vec<&str> = USAGE.iter().map(|(name, _)| *name).collect();
            format!("there are {}", names.join(", "))
        }
    }
}

/// A piece of the text and the column where it starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    pub text: &'a str,
    pub column: usize,
}

/// One operation as written. Its reader takes the arguments out one by one.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub name: Word<'a>,
    pub usage: &'static str,
    /// First the arguments without a key, then those of each key.
    groups: Vec<Group<'a>>,
}

/// Arguments that belong together.
#[derive(Debug, Default)]
struct Group<'a> {
    key: Option<Word<'a>>,
    words: Vec<Word<'a>>,
}

impl<'a> Call<'a> {
    /// Splits a text into calls of known names.
    pub(super) fn split(text: &'a str) -> Result<Vec<Call<'a>>, ParseViewError> {
        let mut scanner = Scanner { text, at: 0 };
        let mut calls = Vec::new();
        loop {
            scanner.skip(char::is_whitespace);
            if scanner.at == text.len() {
                return Ok(calls);
            }
            calls.push(scanner.call()?);
        }
    }

    /// The next argument without a key, read by `read`; an error if it is of another kind.
    pub(super) fn next<T>(
        &mut self,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ParseViewError> {
        let words = &mut self.groups[0].words;
        if words.is_empty() {
            return Ok(None);
        }
        let word = words.remove(0);
        read(word.text).map(Some).ok_or_else(|| self.wrong(word, expected))
    }

    /// As [`next`](Self::next), and an error if there is none.
    pub(super) fn need<T>(
        &mut self,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ParseViewError> {
        self.next(expected, read)?.ok_or_else(|| self.missing(expected))
    }

    /// The values of `key=`, read one by one; an error if they are not `N`.
    pub(super) fn option<T, const N: usize>(
        &mut self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<[T; N]>, ParseViewError> {
        let is_wanted = |group: &Group| group.key.is_some_and(|word| word.text == key);
        let Some(found) = self.groups.iter().position(is_wanted) else {
            return Ok(None);
        };
        let mut values = Vec::with_capacity(N);
        for word in self.groups.remove(found).words {
            if values.len() == N {
                return Err(self.excess(word));
            }
            values.push(read(word.text).ok_or_else(|| self.wrong(word, expected))?);
        }
        values.try_into().map(Some).map_err(|_| self.missing(expected))
    }

    /// An error if an argument is left that nobody took.
    pub(super) fn finish(self) -> Result<(), ParseViewError> {
        let mut left = self.groups.iter().flat_map(|group| group.key.iter().chain(&group.words));
        left.next().map_or(Ok(()), |&word| Err(self.excess(word)))
    }

    fn wrong(&self, word: Word, expected: &'static str) -> ParseViewError {
        let (found, column) = (shown(word.text), word.column);
        ParseViewError::Argument { found, column, expected, usage: self.usage }
    }

    fn excess(&self, word: Word) -> ParseViewError {
        let (found, column) = (shown(word.text), word.column);
        ParseViewError::Excess { found, column, usage: self.usage }
    }

    pub(super) fn missing(&self, expected: &'static str) -> ParseViewError {
        let (name, column) = (self.name.text.into(), self.name.column);
        ParseViewError::Missing { name, column, expected, usage: self.usage }
    }
}

/// Walks through the text; `at` is a byte offset.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn column(&self) -> usize {
        self.text[..self.at].chars().count() + 1
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip(&mut self, which: impl Fn(char) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches(which).len();
    }

    /// The characters up to the next that ends a word; may be empty.
    fn word(&mut self) -> Word<'a> {
        let (start, column) = (self.at, self.column());
        self.skip(|c| !c.is_whitespace() && !"(),;=".contains(c));
        Word { text: &self.text[start..self.at], column }
    }

    fn call(&mut self) -> Result<Call<'a>, ParseViewError> {
        let name = self.word();
        if name.text.is_empty() {
            return Err(ParseViewError::Syntax { column: name.column, expected: "an operation" });
        }
        let Some((_, usage)) = USAGE.iter().find(|(known, _)| *known == name.text) else {
            return Err(unknown(name));
        };
        let groups =
            if self.peek() == Some('(') { self.arguments()? } else { vec![Group::default()] };
        Ok(Call { name, usage, groups })
    }

    /// From an opening parenthesis to behind the closing one.
    fn arguments(&mut self) -> Result<Vec<Group<'a>>, ParseViewError> {
        self.at += 1;
        let mut groups = vec![Group::default()];
        loop {
            self.skip(|c| c.is_whitespace() || c == ',' || c == ';');
            let column = self.column();
            if self.peek() == Some(')') {
                self.at += 1;
                return Ok(groups);
            }
            let word = self.word();
            if word.text.is_empty() {
                let expected = "an argument or a closing parenthesis";
                return Err(ParseViewError::Syntax { column, expected });
            }
            if self.peek() == Some('=') {
                self.at += 1;
                groups.push(Group { key: Some(word), words: Vec::new() });
            } else if let Some(group) = groups.last_mut() {
                group.words.push(word);
            }
        }
    }
}

/// A word as a message shows it: its beginning, if it is long.
fn shown(word: &str) -> String {
    const SHOWN: usize = 80;
    match word.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ...", &word[..end]),
        None => word.into(),
    }
}

fn unknown(name: Word) -> ParseViewError {
    let nearest = USAGE
        .iter()
        .map(|(known, _)| (strsim::damerau_levenshtein(known, name.text), *known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .map(|(_, known)| known);
    ParseViewError::Unknown { name: shown(name.text), column: name.column, nearest }
}
