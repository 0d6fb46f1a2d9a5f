//! A TCP proxy with faults, on threads of its own: it delays, hangs, cuts and heals.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

#[derive(Default)]
struct State {
    target: Option<SocketAddr>,
    hung: bool,
    cut: bool,
    next: u64,
    /// The ends of the connections that there are.
    open: HashMap<u64, [TcpStream; 2]>,
}

/// See the module.
pub(crate) struct Proxy {
    addr: SocketAddr,
    delay: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

impl Proxy {
    /// What goes through it takes that much longer, each way.
    pub(crate) fn start(delay: Duration) -> Arc<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Arc::new(Proxy {
            addr: listener.local_addr().unwrap(),
            delay,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let weak = Arc::downgrade(&proxy);
        thread::spawn(move || {
            for near in listener.incoming() {
                let (Some(proxy), Ok(near)) = (weak.upgrade(), near) else {
                    return;
                };
                proxy.take(near);
            }
        });
        proxy
    }

    pub(crate) fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Where it leads; connections before that wait.
    pub(crate) fn set_target(&self, addr: &str) {
        self.state.lock().unwrap().target = Some(addr.parse().unwrap());
        self.changed.notify_all();
    }

    /// Nothing arrives in either direction any more, and nobody is told.
    pub(crate) fn hang(&self) {
        self.state.lock().unwrap().hung = true;
    }

    /// All connections break, and new ones are refused.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        state.cut = true;
        for stream in state.open.drain().flat_map(|(_, ends)| ends) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// All is well again: what hung arrives.
    pub(crate) fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        (state.hung, state.cut) = (false, false);
        self.changed.notify_all();
    }

    fn take(self: Arc<Self>, near: TcpStream) {
        let mut state = self.state.lock().unwrap();
        if state.cut {
            let _ = near.shutdown(Shutdown::Both);
            return;
        }
        let id = state.next;
        state.next += 1;
        drop(state);
        thread::spawn(move || {
            let mut state = self.state.lock().unwrap();
            while state.target.is_none() || state.hung {
                state = self.changed.wait(state).unwrap();
            }
            let Some(Ok(far)) = state.target.map(TcpStream::connect) else {
                let _ = near.shutdown(Shutdown::Both);
                return;
            };
            for stream in [&near, &far] {
                stream.set_nodelay(true).unwrap();
            }
            let ends = [near.try_clone().unwrap(), far.try_clone().unwrap()];
            state.open.insert(id, ends);
            drop(state);
            let (near2, far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let other = self.clone();
            let back = thread::spawn(move || other.carry(far2, near2));
            self.carry(near, far);
            let _ = back.join();
            self.state.lock().unwrap().open.remove(&id);
        });
    }

    /// One direction, until it ends.
    fn carry(self: &Arc<Self>, mut from: TcpStream, to: TcpStream) {
        let (parts, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
        let proxy = self.clone();
        let writer = thread::spawn(move || {
            let mut to = to;
            for (at, part) in arriving {
                thread::sleep(at.saturating_duration_since(Instant::now()));
                let mut state = proxy.state.lock().unwrap();
                while state.hung {
                    state = proxy.changed.wait(state).unwrap();
                }
                drop(state);
                if to.write_all(&part).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let part = (Instant::now() + self.delay, buffer[..count].to_vec());
            if parts.send(part).is_err() {
                break;
            }
        }
        drop(parts);
        let _ = writer.join();
        let _ = from.shutdown(Shutdown::Both);
    }
}
