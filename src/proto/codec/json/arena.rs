//! Texts and bytes that had to be made while a message is read, kept as long as its bytes: so what is read can borrow all texts alike.

use std::cell::OnceCell;

/// A place for a text or for bytes, and for more behind it.
#[derive(Default)]
pub(crate) struct Arena {
    text: OnceCell<String>,
    bytes: OnceCell<Vec<u8>>,
    next: OnceCell<Box<Arena>>,
}

impl Arena {
    /// Keeps it. `place`: where there was none yet; the next such place when it is done.
    pub(super) fn keep<'a>(place: &mut &'a Arena, text: String) -> &'a str {
        Self::take(place).text.get_or_init(|| text)
    }
    /// Likewise.
    pub(super) fn keep_bytes<'a>(place: &mut &'a Arena, bytes: Vec<u8>) -> &'a [u8] {
        Self::take(place).bytes.get_or_init(|| bytes)
    }
    fn take<'a>(place: &mut &'a Arena) -> &'a Arena {
        std::mem::replace(place, place.next.get_or_init(Box::default))
    }
}

impl Drop for Arena {
    /// One behind the other, not one within the other: a message may have many.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut place) = next {
            next = place.next.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_texts_stay_and_as_many_as_a_message_may_hold_are_dropped() {
        let arena = Arena::default();
        let mut place = &arena;
        let kept: Vec<&str> = (0..200_000)
            .map(|n| Arena::keep(&mut place, n.to_string()))
            .collect();
        for (n, text) in kept.into_iter().enumerate() {
            assert_eq!(text, n.to_string());
        }
    }
}
