//! A recipe: a named starting point.

/// A named starting point: one TOML file, whose comment header says which published row it reproduces,
/// with which command, on what hardware, in how many hours, and what to expect. It may leave out what
/// can be derived from the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// `<method>-<setting>`, or `demo`.
    pub name: &'static str,
    /// The file, header included.
    pub text: &'static str,
}

impl Recipe {
    /// The first line of the header: what the recipe is.
    pub fn summary(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }
}
