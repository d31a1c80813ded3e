//! Which code wrote a file, and which of its names is which of ours.

mod name;

pub use name::LayoutName;
