//! A map by port names, quick for the names that one life of a node gave away.
//!
//! Those names come and go with each call and each spawn, and differ from each other behind 15 bytes only: compared as texts
//! they cost more than all else that is done with them. Here they are kept by their numbers. Nothing is hashed, so that a
//! peer can choose its names as it likes.

use std::collections::BTreeMap;

use super::{DIGITS, PREFIX_BYTES, PortName, numbered};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct NameMap<V> {
    /// What the names begin with that are kept by number: as the first one did that came while there was none.
    prefix: [u8; PREFIX_BYTES],
    numbers: BTreeMap<u64, V>,
    others: BTreeMap<PortName, V>,
    /// Names with a number among the others, which began otherwise. While there are any the prefix stays: else such a
    /// name would be looked for in the wrong place.
    strays: usize,
}

/// For each byte the digit that it is.
const VALUES: [u8; 256] = {
    let mut table = [u8::MAX; 256];
    let mut digit = 0;
    while digit < DIGITS.len() {
        #[allow(clippy::indexing_slicing)] // of 256 by a byte, while this is compiled
        {
            table[DIGITS[digit] as usize] = digit as u8;
        }
        digit += 1;
    }
    table
};

/// The prefix and the number of a name as [`PortNames`](super::PortNames) gives them away, up to 10 digits. No two names
/// have the same.
pub(crate) fn apart(name: &str) -> Option<([u8; PREFIX_BYTES], u64)> {
    let (prefix, digits) = name.as_bytes().split_first_chunk::<PREFIX_BYTES>()?;
    if digits.is_empty() || digits.len() > 10 || digits.first() == Some(&b'0') {
        return None;
    }
    let mut number = 0_u64;
    for &digit in digits {
        #[allow(clippy::indexing_slicing)] // of 256 by a byte
        let value = VALUES[usize::from(digit)];
        if value == u8::MAX {
            return None;
        }
        number = number * 62 + u64::from(value);
    }
    Some((*prefix, number))
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        NameMap {
            prefix: [0; PREFIX_BYTES],
            numbers: BTreeMap::new(),
            others: BTreeMap::new(),
            strays: 0,
        }
    }
}

impl<V> NameMap<V> {
    /// The number by which that name is kept, if it is by one.
    fn number(&self, name: &PortName) -> Option<u64> {
        let (prefix, number) = apart(name.as_str())?;
        (prefix == self.prefix).then_some(number)
    }

    pub(crate) fn get(&self, name: &PortName) -> Option<&V> {
        match self.number(name) {
            Some(number) => self.numbers.get(&number),
            None => self.others.get(name),
        }
    }

    pub(crate) fn get_mut(&mut self, name: &PortName) -> Option<&mut V> {
        match self.number(name) {
            Some(number) => self.numbers.get_mut(&number),
            None => self.others.get_mut(name),
        }
    }

    pub(crate) fn contains(&self, name: &PortName) -> bool {
        self.get(name).is_some()
    }

    /// What was there before.
    pub(crate) fn insert(&mut self, name: &PortName, value: V) -> Option<V> {
        if let Some((prefix, number)) = apart(name.as_str()) {
            if self.numbers.is_empty() && self.strays == 0 {
                self.prefix = prefix;
            }
            if prefix == self.prefix {
                return self.numbers.insert(number, value);
            }
            let old = self.others.insert(name.clone(), value);
            self.strays += usize::from(old.is_none());
            return old;
        }
        self.others.insert(name.clone(), value)
    }

    pub(crate) fn remove(&mut self, name: &PortName) -> Option<V> {
        let apart = apart(name.as_str());
        if let Some((prefix, number)) = apart
            && prefix == self.prefix
        {
            return self.numbers.remove(&number);
        }
        let old = self.others.remove(name)?;
        self.strays -= usize::from(apart.is_some());
        Some(old)
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len() + self.others.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.others.is_empty()
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = PortName> {
        let prefix = std::str::from_utf8(&self.prefix).unwrap_or_default();
        let numbers = self.numbers.keys().map(|&number| numbered(prefix, number));
        numbers.chain(self.others.keys().cloned())
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (PortName, V)> + use<V> {
        let NameMap {
            prefix,
            numbers,
            others,
            ..
        } = std::mem::take(self);
        let numbers = numbers.into_iter().map(move |(number, value)| {
            let prefix = std::str::from_utf8(&prefix).unwrap_or_default();
            (numbered(prefix, number), value)
        });
        numbers.chain(others)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::proto::id::{Incarnation, PortNames};

    // P6
    #[test]
    fn only_names_that_are_given_away_are_taken_apart_and_each_in_its_own_way() {
        let names = PortNames::new(Incarnation::new(1_700_000_000_000, 7 << 44));
        for n in 1..200 {
            let name = names.next_name();
            let (prefix, number) = apart(name.as_str()).unwrap();
            assert_eq!((&prefix[..], number), (names.prefix().as_bytes(), n));
            assert_eq!(numbered(names.prefix(), number), name);
        }
        let prefix = names.prefix();
        for number in ["", "0", "01", "00", "a-", "12345678901"] {
            assert_eq!(apart(&format!("{prefix}{number}")), None, "{number}");
        }
        let largest = format!("{prefix}zzzzzzzzzz");
        let (_, number) = apart(&largest).unwrap();
        assert_eq!(numbered(prefix, number).as_str(), largest);
        assert_eq!(apart(""), None);
        assert_eq!(apart("short"), None);
    }

    fn name() -> impl Strategy<Value = PortName> {
        let prefix = prop_oneof![Just("AAAAAAAAAAAAAAA"), Just("BBBBBBBBBBBBBBB"), Just("x")];
        (prefix, 0..6_u64).prop_map(|(prefix, n)| match n {
            5 => format!("{prefix}-").parse().unwrap(),
            n => format!("{prefix}{n}").parse().unwrap(),
        })
    }

    #[derive(Debug, Clone)]
    enum Op {
        Insert(PortName, u8),
        Remove(PortName),
        Change(PortName),
        Take,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => (name(), any::<u8>()).prop_map(|(name, value)| Op::Insert(name, value)),
            8 => name().prop_map(Op::Remove),
            2 => name().prop_map(Op::Change),
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
