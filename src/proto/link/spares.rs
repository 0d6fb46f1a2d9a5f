//! Buffers of messages that are done with, for the next ones: memory that is fresh from the system costs more than all that
//! is done with it. They belong to the thread that reads, as what it reads into does: else each link that ever brought a
//! large message would keep some.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

/// What is smaller is not worth it.
const BUFFER_BYTES_MIN: usize = 32 << 10;
/// What one thread keeps, in bytes.
const SPARE_BYTES_MAX: usize = 512 << 10;

/// The spare buffers of one thread. They come back from whichever thread is done with them.
#[derive(Debug, Default, Clone)]
pub(super) struct Spares(Arc<Mutex<Vec<Vec<u8>>>>);

thread_local! {
    static OWN: Spares = Spares::default();
}

/// Those of this thread.
pub(super) fn own<T>(work: impl FnOnce(&Spares) -> T) -> T {
    OWN.with(work)
}

fn lock(list: &Mutex<Vec<Vec<u8>>>) -> MutexGuard<'_, Vec<Vec<u8>>> {
    // a list of buffers is right at every moment
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spares {
    /// One that has room for `least`, and not for more than `most`.
    pub(super) fn take(&self, least: usize, most: usize) -> Option<Vec<u8>> {
        if most < BUFFER_BYTES_MIN {
            return None;
        }
        let mut list = lock(&self.0);
        let fits = |spare: &Vec<u8>| (least..=most).contains(&spare.capacity());
        let at = list.iter().position(fits)?;
        Some(list.swap_remove(at))
    }

    /// What was put together in a buffer. The buffer comes back when nobody has a part of it any more.
    pub(super) fn lend(&self, data: Vec<u8>) -> Bytes {
        if data.capacity() < BUFFER_BYTES_MIN {
            return data.into();
        }
        let home = Arc::downgrade(&self.0);
        Bytes::from_owner(Lent { data, home })
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        lock(&self.0).iter().map(Vec::capacity).sum()
    }
}

struct Lent {
    data: Vec<u8>,
    home: Weak<Mutex<Vec<Vec<u8>>>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else {
            return;
        };
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        let mut list = lock(&home);
        let kept: usize = list.iter().map(Vec::capacity).sum();
        if kept + data.capacity() <= SPARE_BYTES_MAX {
            list.push(data);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_the_last_part_of_its_message_is_dropped() {
        let spares = Spares::default();
        let mut data = spares.take(10, 1 << 20).unwrap_or_default();
        data.resize(64 << 10, 7);
        let at = data.as_ptr();
        let whole = spares.lend(data);
        let part = whole.slice(1000..2000);
        drop(whole);
        assert_eq!((spares.bytes(), &part[..]), (0, &[7; 1000][..]));
        drop(part);
        assert_eq!(spares.bytes(), 64 << 10);
        assert!(spares.take(10, 1000).is_none(), "it is too large for that");
        assert!(spares.take(65 << 10, 1 << 20).is_none(), "too small");
        let again = spares.take(60 << 10, 128 << 10).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
    }

    // P8
    #[test]
    fn a_thread_keeps_few_buffers_and_none_when_it_is_gone() {
        let spares = Spares::default();
        let lend = |bytes| spares.lend(vec![7; bytes]);
        let many: Vec<Bytes> = (0..100).map(|_| lend(64 << 10)).collect();
        drop(many);
        assert_eq!(spares.bytes(), SPARE_BYTES_MAX);
        drop(lend(SPARE_BYTES_MAX + 1));
        assert_eq!(spares.bytes(), SPARE_BYTES_MAX);
        let last = lend(64 << 10);
        drop(spares);
        assert_eq!(last.len(), 64 << 10);
    }
}
