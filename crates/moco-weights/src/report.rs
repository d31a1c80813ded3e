//! What was read of a file, what was left of it, and why.

use std::fmt;
use std::path::PathBuf;

/// The account of an import, a few lines for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file or folder.
    pub file: PathBuf,
    /// Its format in words, such as `PyTorch, zip`.
    pub format: String,
    /// The layout in words, and how it was told.
    pub layout: String,
    /// The network in words, with its sizes.
    pub network: String,
    /// Tensors of the file that the backbone has now.
    pub taken: usize,
    /// Tensors of the file that heads have now.
    pub heads: usize,
    /// What was left, in groups.
    pub left: Vec<Left>,
    /// What else a user should know, each a whole sentence without a stop.
    pub notes: Vec<String>,
}

/// Tensors that were left for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// What they are, such as `the optimiser's state`.
    pub what: String,
    /// How many.
    pub count: usize,
    /// The name of one of them in the file.
    pub example: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "weights  {} ({})", self.file.display(), self.format)?;
        writeln!(f, "layout   {}", self.layout)?;
        writeln!(f, "network  {}", self.network)?;
        let heads = match self.heads {
            0 => String::new(),
            n => format!(", {n} of heads"),
        };
        writeln!(f, "taken    {} tensors of the backbone{heads}", self.taken)?;
        for Left { what, count, example } in &self.left {
            writeln!(f, "left     {count} of {what}, such as `{example}`")?;
        }
        for note in &self.notes {
            writeln!(f, "note     {note}")?;
        }
        Ok(())
    }
}
