//! The work itself: words and how often they occur.

use std::collections::BTreeMap;

/// How often each word occurs.
pub(super) type Counts = BTreeMap<String, u64>;

/// The words of a text: letters, digits and inner apostrophes, in lower case.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .map(|word| word.trim_matches('\''))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Counts the words of some lines.
pub(super) fn count<'a>(lines: impl IntoIterator<Item = &'a str>) -> Counts {
    let mut counts = Counts::new();
    for word in lines.into_iter().flat_map(words) {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

/// Adds `part` to `total`.
pub(super) fn add(total: &mut Counts, part: Counts) {
    for (word, n) in part {
        *total.entry(word).or_default() += n;
    }
}

/// All words together.
pub(super) fn sum(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// The most frequent words, the first in the alphabet where they are equal.
pub(super) fn top(counts: &Counts, n: usize) -> Vec<(&str, u64)> {
    let mut all: Vec<_> = counts.iter().map(|(word, &n)| (word.as_str(), n)).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    all.truncate(n);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_without_case_and_punctuation() {
        let counts = count(["The port, the PORT's 'port'.", "", "— x1/x2 —"]);
        let expected = [("the", 2), ("port", 2), ("port's", 1), ("x1", 1), ("x2", 1)];
        assert_eq!(counts.len(), expected.len());
        for (word, n) in expected {
            assert_eq!(counts.get(word), Some(&n), "{word}");
        }
        assert_eq!(sum(&counts), 7);
        assert_eq!(top(&counts, 2), [("port", 2), ("the", 2)]);
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let lines = ["a b a", "b c", "", "a"];
        let mut total = Counts::new();
        for line in lines {
            add(&mut total, count([line]));
        }
        assert_eq!(total, count(lines));
    }
}
