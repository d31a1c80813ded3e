//! What the crate says of data, against the programs it follows, and the page as a reader gets it.

mod embedding;
mod page;
