//! Where copies of data are kept between runs.

use std::env;
use std::path::PathBuf;

/// `$MOCO_CACHE`, else `moco` in the user's cache folder as the XDG Base Directory Specification
/// has it (`~/.cache`), or the system's usual place for it on macOS and Windows.
pub fn default() -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = variable("MOCO_CACHE") {
        return Some(own);
    }
    // The specification has relative paths ignored.
    let xdg = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let base = xdg.or_else(|| {
        if cfg!(windows) {
            variable("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            variable("HOME").map(|home| home.join("Library/Caches"))
        } else {
            variable("HOME").map(|home| home.join(".cache"))
        }
    });
    base.map(|base| base.join("moco"))
}
