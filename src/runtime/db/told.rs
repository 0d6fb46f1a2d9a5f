//! What is told without the lock under which it came to be, in the order in which it did.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// See the module. One thread tells at a time; who comes meanwhile leaves to it what it has.
pub(super) struct Told<T>(Mutex<State<T>>);

struct State<T> {
    queue: VecDeque<T>,
    busy: bool,
}

impl<T> Told<T> {
    pub(super) fn new() -> Self {
        Told(Mutex::new(State {
            queue: VecDeque::new(),
            busy: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // no code of others runs under it
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be told later; to be called under the lock that makes the order.
    pub(super) fn push(&self, one: T) {
        self.lock().queue.push_back(one);
    }

    /// Tells all that waits, unless somebody is at it, who will.
    pub(super) fn tell(&self, mut tell: impl FnMut(T)) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.busy, true) {
            return;
        }
        while let Some(one) = state.queue.pop_front() {
            drop(state);
            tell(one);
            state = self.lock();
        }
        state.busy = false;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread;

    use super::*;

    #[test]
    fn what_several_threads_leave_is_told_once_in_the_order_in_which_it_came() {
        const EACH: usize = 2000;
        let (order, told, heard) = (Mutex::new(0), Told::new(), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let mut next = order.lock().unwrap();
                        told.push(*next);
                        *next += 1;
                        drop(next);
                        told.tell(|one| {
                            // a thread may be put to sleep here
                            thread::yield_now();
                            heard.lock().unwrap().push(one);
                        });
                    }
                });
            }
        });
        assert_eq!(heard.into_inner().unwrap(), Vec::from_iter(0..4 * EACH));
    }

    #[test]
    fn what_telling_brings_about_is_told_after_it() {
        let (told, mut heard) = (Told::new(), Vec::new());
        told.push(3);
        told.tell(|one| {
            heard.push(one);
            if one > 0 {
                told.push(one - 1);
                told.tell(|_| panic!("within another"));
            }
        });
        assert_eq!(heard, [3, 2, 1, 0]);
    }
}
