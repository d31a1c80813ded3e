//! How much memory there is to compute with.

/// Bytes of memory that this process may have: the machine's, or less where its control group or
/// `ulimit -v` allows less; `None` where the system does not tell.
pub fn memory() -> Option<u64> {
    [physical(), control_group(), address_space()].into_iter().flatten().min()
}

/// `MemTotal:       24576000 kB` of `/proc/meminfo`.
fn physical() -> Option<u64> {
    total(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The limits of the control groups that this process is in, versions 2 and 1. A group inside
/// another has the smaller limit of the two.
fn control_group() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().flat_map(limit_files).filter_map(limit).min()
}

/// The files that hold the limits of a line of `/proc/self/cgroup`, e.g. `0::/user.slice/job`, up to
/// the outermost group. Within a container the line may name a group that is not seen from there;
/// the outermost is.
fn limit_files(line: &str) -> Vec<std::path::PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let group = std::path::Path::new(root).join(group.trim_start_matches('/'));
    let within = group.ancestors().take_while(|folder| folder.starts_with(root));
    within.map(|folder| folder.join(file)).collect()
}

/// A number; `max` stands for none.
fn limit(file: std::path::PathBuf) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(unix)]
fn address_space() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

#[cfg(not(unix))]
fn address_space() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_total_is_in_kibibytes() {
        assert_eq!(total("MemTotal:       24576000 kB\nMemFree: 1 kB\n"), Some(24_576_000 << 10));
        assert_eq!(total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn limits_of_outer_groups_count() {
        let files = |line| limit_files(line);
        let expected = ["/sys/fs/cgroup/a/b/", "/sys/fs/cgroup/a/", "/sys/fs/cgroup/"];
        let expected = expected.map(|folder| PathBuf::from(folder).join("memory.max"));
        assert_eq!(files("0::/a/b"), expected);
        assert_eq!(files("0::/"), [PathBuf::from("/sys/fs/cgroup/memory.max")]);
        assert_eq!(files("9:memory:/").len(), 1);
        assert!(files("8:cpu,cpuacct:/a").is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_memory() {
        assert!(memory().unwrap() > 1 << 26);
    }
}
