//! A map by port names, quick for those of usual length.
//!
//! Names come and go with each call and each spawn, and those that one life of a node gives away differ behind 15 bytes only:
//! to compare them as texts costs more than all else that is done with them. Here names of up to 24 bytes are compared as
//! three numbers. Nothing is hashed, so that a peer can choose its names as it likes.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::PortName;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct NameMap<V> {
    short: BTreeMap<Key, V>,
    long: BTreeMap<PortName, V>,
}

/// The bytes of a name of up to 24 bytes, as big-endian numbers, filled up with zeros, which are in no name. The last number
/// stands first and is compared first: names that differ late differ there, and the order says nothing to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64, u64, u64);

fn key(name: &PortName) -> Option<Key> {
    let name = name.as_str().as_bytes();
    let mut bytes = [0; 24];
    bytes.get_mut(..name.len())?.copy_from_slice(name);
    match bytes.as_chunks::<8>() {
        ([first, second, third], []) => {
            let [first, second, third] =
                [first, second, third].map(|word| u64::from_be_bytes(*word));
            Some(Key(third, second, first))
        }
        _ => None,
    }
}

fn name(key: &Key) -> PortName {
    let Key(third, second, first) = key;
    let mut bytes = [0; 24];
    for (word, number) in bytes.chunks_exact_mut(8).zip([first, second, third]) {
        word.copy_from_slice(&number.to_be_bytes());
    }
    let len = bytes.iter().position(|byte| *byte == 0);
    let text = bytes.get(..len.unwrap_or(bytes.len()));
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    PortName(SmolStr::new(text.unwrap_or_default()))
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        NameMap {
            short: BTreeMap::new(),
            long: BTreeMap::new(),
        }
    }
}

impl<V> NameMap<V> {
    pub(crate) fn get(&self, name: &PortName) -> Option<&V> {
        match key(name) {
            Some(key) => self.short.get(&key),
            None => self.long.get(name),
        }
    }

    pub(crate) fn get_mut(&mut self, name: &PortName) -> Option<&mut V> {
        match key(name) {
            Some(key) => self.short.get_mut(&key),
            None => self.long.get_mut(name),
        }
    }

    pub(crate) fn contains(&self, name: &PortName) -> bool {
        self.get(name).is_some()
    }

    /// What was there before.
    pub(crate) fn insert(&mut self, name: &PortName, value: V) -> Option<V> {
        match key(name) {
            Some(key) => self.short.insert(key, value),
            None => self.long.insert(name.clone(), value),
        }
    }

    /// What is there, made if there is nothing.
    pub(crate) fn or_insert_with(&mut self, name: &PortName, make: impl FnOnce() -> V) -> &mut V {
        match key(name) {
            Some(key) => self.short.entry(key).or_insert_with(make),
            None => self.long.entry(name.clone()).or_insert_with(make),
        }
    }

    pub(crate) fn remove(&mut self, name: &PortName) -> Option<V> {
        match key(name) {
            Some(key) => self.short.remove(&key),
            None => self.long.remove(name),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.short.is_empty() && self.long.is_empty()
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = PortName> {
        self.short.keys().map(name).chain(self.long.keys().cloned())
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (PortName, V)> + use<V> {
        let NameMap { short, long } = std::mem::take(self);
        let short = short.into_iter().map(|(key, value)| (name(&key), value));
        short.chain(long)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::proto::id::NAME_BYTES_MAX;

    fn some_name() -> impl Strategy<Value = PortName> {
        let lens = prop_oneof![0..30_usize, Just(NAME_BYTES_MAX)];
        // few different ones, of all lengths, that differ late
        (lens, 0..3_u8).prop_map(|(len, last)| {
            let mut text = "a".repeat(len);
            if text.pop().is_some() {
                text.push(char::from(b'a' + last));
            }
            text.parse().unwrap()
        })
    }

    #[derive(Debug, Clone)]
    enum Op {
        Insert(PortName, u8),
        Remove(PortName),
        Change(PortName),
        Fill(PortName, u8),
        Take,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => (some_name(), any::<u8>()).prop_map(|(name, value)| Op::Insert(name, value)),
            8 => some_name().prop_map(Op::Remove),
            2 => some_name().prop_map(Op::Change),
            2 => (some_name(), any::<u8>()).prop_map(|(name, value)| Op::Fill(name, value)),
            1 => Just(Op::Take),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        // P1, M2
        #[test]
        fn whatever_names_come_and_go_it_is_a_map(ops in proptest::collection::vec(op(), 0..60)) {
            let mut map = NameMap::default();
            let mut plain = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Insert(name, value) => {
                        prop_assert_eq!(map.insert(&name, value), plain.insert(name, value));
                    }
                    Op::Remove(name) => prop_assert_eq!(map.remove(&name), plain.remove(&name)),
                    Op::Change(name) => {
                        let (a, b) = (map.get_mut(&name), plain.get_mut(&name));
                        prop_assert_eq!(&a, &b);
                        if let (Some(a), Some(b)) = (a, b) {
                            (*a, *b) = (a.wrapping_add(1), b.wrapping_add(1));
                        }
                    }
                    Op::Fill(name, value) => {
                        let filled = *map.or_insert_with(&name, || value);
                        prop_assert_eq!(filled, *plain.entry(name).or_insert(value));
                    }
                    Op::Take => {
                        let all: BTreeMap<PortName, u8> = map.take().collect();
                        prop_assert_eq!(&all, &plain);
                        plain.clear();
                    }
                }
                prop_assert_eq!((map.len(), map.is_empty()), (plain.len(), plain.is_empty()));
                let mut names: Vec<PortName> = map.names().collect();
                names.sort();
                prop_assert!(names.iter().eq(plain.keys()));
                for (name, value) in &plain {
                    prop_assert_eq!(map.get(name), Some(value));
                    prop_assert!(map.contains(name));
                }
            }
        }
    }
}
