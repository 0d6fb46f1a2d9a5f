//! The simulated network: connections that carry bytes with delay, a rate and a bounded buffer, and break.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::rng::Rng;

/// A connection; its two sides are 0, who opened it, and 1.
pub type ConnId = u64;

/// What a sender's and a receiver's kernel hold of one direction together.
const BUFFER_BYTES: usize = 8 << 10;

/// What the reader of one side finds.
#[derive(Debug)]
pub enum Chunk {
    Bytes(Vec<u8>),
    /// The stream has ended or failed.
    End(&'static str),
}

/// Between two hosts, one way.
#[derive(Debug, Clone)]
pub struct Path {
    pub delay: Duration,
    pub jitter: Duration,
    pub bytes_per_ms: u64,
    /// Nothing arrives before: a route that is down for a while, and TCP sends again.
    pub stalled_until: Duration,
}

#[derive(Debug, Default)]
struct Direction {
    queue: VecDeque<(Duration, Chunk)>,
    bytes: usize,
    /// When the last byte written so far has left the sender.
    sent_at: Duration,
    arrives_at: Duration,
    black_hole: bool,
    /// The reader has closed, or the connection is cut: what is written goes nowhere.
    deaf: bool,
    ended: bool,
}

#[derive(Debug)]
struct Conn {
    hosts: [usize; 2],
    dirs: [Direction; 2],
    closed: [bool; 2],
    link: bool,
}

/// An arrival or free room that the cluster has to tell a host of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    pub at: Duration,
    pub conn: ConnId,
    pub side: usize,
    pub host: usize,
}

#[derive(Debug)]
pub struct Net {
    conns: BTreeMap<ConnId, Conn>,
    next: ConnId,
    pub paths: BTreeMap<(usize, usize), Path>,
    rng: Rng,
    pub signals: Vec<Signal>,
    /// Whether bytes change on their way over links.
    pub corrupt: bool,
}

impl Net {
    pub fn new(hosts: usize, mut rng: Rng) -> Self {
        let mut paths = BTreeMap::new();
        for from in 0..hosts {
            for to in 0..hosts {
                let path = Path {
                    delay: Duration::from_micros(rng.range(50, 30_000)),
                    jitter: Duration::from_micros(rng.range(1, 10_000)),
                    bytes_per_ms: rng.range(20, 400),
                    stalled_until: Duration::ZERO,
                };
                paths.insert((from, to), path);
            }
        }
        Net {
            conns: BTreeMap::new(),
            next: 1,
            paths,
            rng,
            signals: Vec::new(),
            corrupt: false,
        }
    }

    /// How long a new connection takes to open.
    pub fn connect_delay(&mut self, from: usize, to: usize) -> Duration {
        let there = &self.paths[&(from, to)];
        let back = &self.paths[&(to, from)];
        there.delay + back.delay + Duration::from_micros(self.rng.below(2_000))
    }

    pub fn open(&mut self, from: usize, to: usize) -> ConnId {
        let conn = self.next;
        self.next += 1;
        self.conns.insert(
            conn,
            Conn {
                hosts: [from, to],
                dirs: Default::default(),
                closed: [false; 2],
                link: false,
            },
        );
        conn
    }

    /// The side's host may write that much now.
    pub fn room(&self, conn: ConnId, side: usize) -> usize {
        match self.conns.get(&conn) {
            Some(conn) if !conn.dirs[side].deaf => {
                BUFFER_BYTES.saturating_sub(conn.dirs[side].bytes)
            }
            _ => BUFFER_BYTES,
        }
    }

    pub fn write(&mut self, conn: ConnId, side: usize, bytes: Vec<u8>, now: Duration) {
        self.put(conn, side, Chunk::Bytes(bytes), now);
    }

    /// That connection is a link: from now on its bytes may change.
    pub fn mark(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.link = true;
        }
    }

    fn put(&mut self, id: ConnId, side: usize, mut chunk: Chunk, now: Duration) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if let Chunk::Bytes(bytes) = &mut chunk
            && self.corrupt
            && conn.link
            && self.rng.one_in(100)
        {
            let at = self.rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.rng.below(8);
        }
        let host = conn.hosts[1 - side];
        let path = &self.paths[&(conn.hosts[side], host)];
        let dir = &mut conn.dirs[side];
        if dir.deaf || dir.ended {
            return;
        }
        if let Chunk::Bytes(bytes) = &chunk {
            dir.bytes += bytes.len();
            let micros = bytes.len() as u64 * 1000 / path.bytes_per_ms;
            dir.sent_at = dir.sent_at.max(now) + Duration::from_micros(micros);
        } else {
            dir.ended = true;
        }
        if dir.black_hole {
            return;
        }
        let jitter = Duration::from_nanos(self.rng.below(path.jitter.as_nanos() as u64));
        let at = dir.sent_at.max(now).max(path.stalled_until) + path.delay + jitter;
        dir.arrives_at = dir.arrives_at.max(at);
        dir.queue.push_back((dir.arrives_at, chunk));
        self.signals.push(Signal {
            at: dir.arrives_at,
            conn: id,
            side: 1 - side,
            host,
        });
    }

    /// What has arrived at that side.
    pub fn read(&mut self, id: ConnId, side: usize, now: Duration) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let Some(conn) = self.conns.get_mut(&id) else {
            return chunks;
        };
        let dir = &mut conn.dirs[1 - side];
        let full = dir.bytes >= BUFFER_BYTES;
        while dir.queue.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, chunk)) = dir.queue.pop_front() {
                if let Chunk::Bytes(bytes) = &chunk {
                    dir.bytes -= bytes.len();
                }
                chunks.push(chunk);
            }
        }
        if full && dir.bytes < BUFFER_BYTES {
            let back = &self.paths[&(conn.hosts[side], conn.hosts[1 - side])];
            self.signals.push(Signal {
                at: now + back.delay,
                conn: id,
                side: 1 - side,
                host: conn.hosts[1 - side],
            });
        }
        chunks
    }

    /// That side has closed: what it wrote still arrives, what comes to it is thrown away.
    pub fn close(&mut self, id: ConnId, side: usize, now: Duration) {
        self.put(id, side, Chunk::End("closed"), now);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.closed[side] = true;
            conn.dirs[1 - side].deaf = true;
            conn.dirs[1 - side].queue.clear();
            conn.dirs[1 - side].bytes = 0;
            if conn.closed[1 - side] {
                // both have closed; what is under way to them is of no interest
                self.conns.remove(&id);
            }
        }
    }

    /// The process has died and its kernel resets the connection.
    pub fn reset(&mut self, id: ConnId, side: usize, now: Duration) {
        self.close(id, side, now);
    }

    /// Both sides find it failed, and what is under way is gone. Says how many bytes were.
    pub fn cut(&mut self, id: ConnId, now: Duration) -> usize {
        let mut lost = 0;
        if let Some(conn) = self.conns.get_mut(&id) {
            for dir in &mut conn.dirs {
                dir.queue.clear();
                lost += dir.bytes;
                dir.bytes = 0;
                dir.black_hole = false;
            }
        }
        for side in 0..2 {
            self.put(id, side, Chunk::End("reset"), now);
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.dirs[side].deaf = true;
            }
        }
        lost
    }

    /// Only that side finds the connection failed; the word to the other is lost.
    pub fn cut_one_side(&mut self, id: ConnId, side: usize, now: Duration) {
        self.black_hole(id, side);
        if let Some(conn) = self.conns.get_mut(&id) {
            let dir = &mut conn.dirs[1 - side];
            dir.queue.clear();
            dir.bytes = 0;
        }
        self.put(id, 1 - side, Chunk::End("reset"), now);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.dirs[1 - side].deaf = true;
        }
    }

    /// Nothing that `side` wrote and that has not arrived, or will be written, arrives any more; nobody is told.
    pub fn black_hole(&mut self, id: ConnId, side: usize) -> usize {
        match self.conns.get_mut(&id) {
            Some(conn) => {
                let dir = &mut conn.dirs[side];
                dir.queue.clear();
                dir.black_hole = true;
                dir.bytes
            }
            None => 0,
        }
    }

    /// The connections between two hosts.
    pub fn between(&self, a: usize, b: usize) -> Vec<(ConnId, [usize; 2])> {
        self.conns
            .iter()
            .filter(|(_, conn)| conn.hosts == [a, b] || conn.hosts == [b, a])
            .map(|(id, conn)| (*id, conn.hosts))
            .collect()
    }
}
