//! The host's name, for `%n` in the names of nodes.

/// The host's name as the system tells it; `host` where it does not. It may contain anything.
pub(crate) fn name() -> String {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    files
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .chain(
            ["COMPUTERNAME", "HOSTNAME", "HOST"]
                .iter()
                .filter_map(|variable| std::env::var(variable).ok()),
        )
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "host".to_owned())
}
