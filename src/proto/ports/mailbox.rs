//! A bounded mailbox (P8): what waits for one port.

use std::{collections::VecDeque, sync::Arc};

use crate::proto::link::LinkId;

/// What a full mailbox does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// Its senders wait: links hold and push back, local sends are refused.
    #[default]
    PushBack,
    /// The port dies with `["mailbox_overflow", n]`.
    Kill,
}

/// The bounds of one mailbox. A message larger than `bytes_max` passes when the mailbox is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxLimits {
    /// In bytes.
    pub bytes_max: usize,
    /// In messages.
    pub count_max: usize,
    /// When it is full.
    pub overflow: Overflow,
}

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
pub enum Push<T> {
    /// It is in.
    Queued,
    /// No room; here it is again. (With [`Overflow::Kill`]: the port must die with the number that waits.)
    Full(T),
}

/// The queue. Messages count against the bounds; control items (kills, closures, acknowledgements) do not, and keep
/// their place among the messages (M4).
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: VecDeque<Entry<T>>,
    bytes: usize,
    count: usize,
    /// Those of most mailboxes are the same.
    limits: Arc<MailboxLimits>,
    /// Nearly always none, so it takes a word and not three.
    waiting: Option<Box<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    links: Vec<LinkId>,
}

/// What waits, and what it counts for: a control item for nothing.
#[derive(Debug)]
struct Entry<T> {
    item: T,
    bytes: usize,
    count: usize,
}

impl<T> Mailbox<T> {
    /// An empty one.
    pub fn new(limits: impl Into<Arc<MailboxLimits>>) -> Self {
        Mailbox {
            queue: VecDeque::new(),
            bytes: 0,
            count: 0,
            limits: limits.into(),
            waiting: None,
        }
    }
    /// Whether there is room for a message of that many bytes.
    pub fn fits(&self, bytes: usize) -> bool {
        self.count == 0
            || (self.count < self.limits.count_max
                && self.bytes.saturating_add(bytes.max(1)) <= self.limits.bytes_max)
    }
    /// How many of these messages, by their bytes and in order, there is room for.
    pub fn count_fitting(&self, lens: impl Iterator<Item = usize>) -> usize {
        let (mut count, mut bytes) = (self.count, self.bytes);
        let fits = |len: &usize| {
            let fits = count == 0
                || (count < self.limits.count_max
                    && bytes.saturating_add(*len) <= self.limits.bytes_max);
            count += 1;
            bytes = bytes.saturating_add(*len);
            fits
        };
        lens.map(|len| len.max(1)).take_while(fits).count()
    }
    /// A message of that many bytes at the end, if there is room.
    pub fn push(&mut self, item: T, bytes: usize) -> Push<T> {
        if !self.fits(bytes) {
            return Push::Full(item);
        }
        self.push_many(item, bytes, 1);
        Push::Queued
    }
    /// So many messages in one item at the end, of so many bytes in all. The caller has asked [`Self::count_fitting`].
    pub fn push_many(&mut self, item: T, bytes: usize, count: usize) {
        // an empty message counts as one byte
        let bytes = bytes.max(count);
        self.bytes += bytes;
        self.count += count;
        self.queue.push_back(Entry { item, bytes, count });
    }
    /// A control item at the end, always.
    pub fn push_control(&mut self, item: T) {
        self.queue.push_back(Entry {
            item,
            bytes: 0,
            count: 0,
        });
    }
    /// The first item.
    pub fn pop(&mut self) -> Option<T> {
        let Entry { item, bytes, count } = self.queue.pop_front()?;
        self.bytes -= bytes;
        self.count -= count;
        Some(item)
    }
    /// What is left of an item that was taken with [`Self::pop`], back to where it was.
    pub fn put_back(&mut self, item: T, bytes: usize, count: usize) {
        let bytes = bytes.max(count);
        self.bytes += bytes;
        self.count += count;
        self.queue.push_front(Entry { item, bytes, count });
    }
    /// That link holds messages for this port and wants to hear when there is room.
    pub fn wait_for_room(&mut self, link: LinkId) {
        let links = &mut self.waiting.get_or_insert_default().links;
        if !links.contains(&link) {
            links.push(link);
        }
    }
    /// The links to be told, once, when at least half of the room is free again.
    pub fn take_waiting(&mut self) -> Vec<LinkId> {
        let roomy =
            self.bytes <= self.limits.bytes_max / 2 && self.count <= self.limits.count_max / 2;
        if roomy {
            self.no_longer_waiting()
        } else {
            Vec::new()
        }
    }
    fn no_longer_waiting(&mut self) -> Vec<LinkId> {
        self.waiting
            .take()
            .map_or_else(Vec::new, |waiting| waiting.links)
    }
    /// Messages that wait.
    pub fn count(&self) -> usize {
        self.count
    }
    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// Whether nothing waits, not even a control item.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
    /// The bounds.
    pub fn limits(&self) -> &MailboxLimits {
        &self.limits
    }
    /// Gives back memory that an empty queue does not need.
    pub fn shrink(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }
    /// Other bounds from now on. What waits already stays.
    pub fn set_limits(&mut self, limits: impl Into<Arc<MailboxLimits>>) {
        self.limits = limits.into();
    }
    /// Everything that waits, when the port dies; and the links that waited.
    pub fn close(&mut self) -> (Vec<T>, Vec<LinkId>) {
        self.bytes = 0;
        self.count = 0;
        (
            self.queue.drain(..).map(|entry| entry.item).collect(),
            self.no_longer_waiting(),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::num::NonZeroU64;

    use super::*;

    fn mailbox(bytes_max: usize, count_max: usize) -> Mailbox<u32> {
        Mailbox::new(MailboxLimits {
            bytes_max,
            count_max,
            overflow: Overflow::PushBack,
        })
    }

    fn link(n: u64) -> LinkId {
        LinkId(NonZeroU64::new(n).unwrap())
    }

    // P8
    #[test]
    fn a_mailbox_ends_at_its_bounds() {
        let mut by_bytes = mailbox(100, 1000);
        assert_eq!(by_bytes.push(1, 60), Push::Queued);
        assert_eq!(by_bytes.push(2, 41), Push::Full(2));
        assert_eq!(by_bytes.push(3, 40), Push::Queued);
        assert_eq!(by_bytes.push(4, 1), Push::Full(4));
        let mut by_count = mailbox(100, 3);
        for n in 0..3 {
            assert_eq!(by_count.push(n, 0), Push::Queued);
        }
        assert_eq!(by_count.push(3, 0), Push::Full(3), "empty messages count");
        assert_eq!((by_count.count(), by_count.bytes()), (3, 3));
        // one that is larger than all of it passes alone
        let mut large = mailbox(100, 3);
        assert_eq!(large.push(1, 1000), Push::Queued);
        assert_eq!(large.push(2, 0), Push::Full(2));
        assert_eq!(large.pop(), Some(1));
        assert_eq!(large.push(3, 100), Push::Queued);
        assert_eq!(large.push(4, 101), Push::Full(4));
    }

    // M4
    #[test]
    fn control_items_always_fit_and_keep_their_place() {
        let mut mailbox = mailbox(10, 2);
        assert_eq!(mailbox.push(1, 5), Push::Queued);
        mailbox.push_control(2);
        assert_eq!(mailbox.push(3, 5), Push::Queued);
        mailbox.push_control(4);
        assert_eq!(mailbox.push(5, 5), Push::Full(5));
        assert_eq!(mailbox.count(), 2);
        let all: Vec<u32> = std::iter::from_fn(|| mailbox.pop()).collect();
        assert_eq!(all, [1, 2, 3, 4]);
        assert!(mailbox.is_empty());
        assert_eq!((mailbox.count(), mailbox.bytes()), (0, 0));
    }

    // P8
    #[test]
    fn who_waits_for_room_is_told_once_when_half_of_it_is_free() {
        let mut mailbox = mailbox(100, 4);
        for n in 0..4 {
            assert_eq!(mailbox.push(n, 25), Push::Queued);
        }
        mailbox.wait_for_room(link(1));
        mailbox.wait_for_room(link(2));
        mailbox.wait_for_room(link(1));
        mailbox.pop();
        assert_eq!(mailbox.take_waiting(), []);
        mailbox.pop();
        assert_eq!(mailbox.take_waiting(), [link(1), link(2)]);
        mailbox.pop();
        assert_eq!(mailbox.take_waiting(), []);
        mailbox.wait_for_room(link(3));
        mailbox.push_control(9);
        assert_eq!(mailbox.close(), (vec![3, 9], vec![link(3)]));
        assert!(mailbox.is_empty());
    }
}
