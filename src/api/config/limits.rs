//! The fields of `Limits` by their names.

use std::time::Duration;

use super::{
    keys::{Key, Kind},
    value::Setting,
};
use crate::proto::limits::Limits;

/// A type that a field of `Limits` has.
trait Field: Sized {
    const KIND: Kind;
    fn of(setting: &Setting) -> Option<Self>;
    fn setting(self) -> Setting;
}

impl Field for usize {
    const KIND: Kind = Kind::Count(usize::MAX as u64);
    fn of(setting: &Setting) -> Option<Self> {
        match setting {
            Setting::Count(count) => usize::try_from(*count).ok(),
            _ => None,
        }
    }
    fn setting(self) -> Setting {
        Setting::Count(self as u64)
    }
}

impl Field for u32 {
    const KIND: Kind = Kind::Count(u32::MAX as u64);
    fn of(setting: &Setting) -> Option<Self> {
        match setting {
            Setting::Count(count) => u32::try_from(*count).ok(),
            _ => None,
        }
    }
    fn setting(self) -> Setting {
        Setting::Count(self.into())
    }
}

impl Field for Duration {
    const KIND: Kind = Kind::Time;
    fn of(setting: &Setting) -> Option<Self> {
        match setting {
            Setting::Time(time) => Some(*time),
            _ => None,
        }
    }
    fn setting(self) -> Setting {
        Setting::Time(self)
    }
}

/// Names every field of `Limits` once: one that is missing here does not compile.
macro_rules! limits {
    ($($field:ident: $type:ty,)+) => {
        /// A key for each field.
        pub(crate) const KEYS: &[Key] = &[$(Key {
            name: concat!("limits.", stringify!($field)),
            kind: <$type as Field>::KIND,
            flag: None,
            default: "",
        },)+];

        /// Sets the field that a key stands for; `false`: it stands for none, or the value does not fit.
        pub(crate) fn set(limits: &mut Limits, key: &str, setting: &Setting) -> bool {
            match key {
                $(concat!("limits.", stringify!($field)) => match <$type as Field>::of(setting) {
                    Some(value) => {
                        limits.$field = value;
                        true
                    }
                    None => false,
                },)+
                _ => false,
            }
        }

        /// The default of the field that a key stands for.
        pub(crate) fn default(key: &str) -> Option<Setting> {
            let Limits { $($field),+ } = Limits::default();
            match key {
                $(concat!("limits.", stringify!($field)) => Some($field.setting()),)+
                _ => None,
            }
        }
    };
}

limits! {
    frame_bytes_max: usize,
    fragment_bytes_max: usize,
    message_bytes_max: usize,
    depth_max: usize,
    values_max: usize,
    window_bytes: usize,
    outbound_bytes_max: usize,
    outbound_count_max: usize,
    mailbox_bytes_max: usize,
    mailbox_count_max: usize,
    monitors_per_link_max: usize,
    link_timeout: Duration,
    idle_timeout: Duration,
    probe_timeout: Duration,
    kill_wait: Duration,
    connect_timeout: Duration,
    tls_timeout: Duration,
    auth_timeout: Duration,
    unauthenticated_max: usize,
    unauthenticated_per_address_max: usize,
    handshakes_max: usize,
    accepts_per_second: u32,
    accepts_burst: u32,
    db_value_bytes_max: usize,
    db_key_bytes_max: usize,
    db_node_families_max: usize,
    db_node_entries_max: usize,
    db_node_bytes_max: usize,
    db_entries_max: usize,
    db_bytes_max: usize,
    db_tombstones_max: usize,
    db_grace: Duration,
    db_retention: Duration,
    db_query_timeout: Duration,
    db_subscriptions_max: usize,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_limit_is_a_key_that_sets_its_own_field() {
        let text = format!("{:#?}", Limits::default());
        assert_eq!(text.lines().count(), KEYS.len() + 2);
        for key in KEYS {
            let mut limits = Limits::default();
            let default = default(key.name).unwrap();
            assert!(set(&mut limits, key.name, &default), "{}", key.name);
            assert_eq!(limits, Limits::default(), "{}", key.name);
            let other = match default {
                Setting::Count(count) => Setting::Count(count + 1),
                _ => Setting::Time(Duration::from_secs(77)),
            };
            assert!(set(&mut limits, key.name, &other));
            let changed = format!("{limits:#?}");
            let differing = text.lines().zip(changed.lines()).filter(|(a, b)| a != b);
            let lines: Vec<_> = differing.map(|(line, _)| line).collect();
            let field = key.name.strip_prefix("limits.").unwrap();
            assert_eq!(lines.len(), 1, "{}", key.name);
            assert!(
                lines[0].contains(field),
                "{} changes {}",
                key.name,
                lines[0]
            );
            assert!(!set(&mut limits, key.name, &Setting::Bool(true)));
        }
    }
}
