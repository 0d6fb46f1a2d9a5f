//! A TCP proxy that writes down every byte, and a reader of what TLS shows in clear.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What went over one connection.
#[derive(Default)]
pub(crate) struct Recording {
    pub(crate) to_server: Mutex<Vec<u8>>,
    pub(crate) to_client: Mutex<Vec<u8>>,
}

/// Takes orders on a control address: one line with a target, answered by one with the address of a new proxy to it.
pub(crate) struct Recorder {
    pub(crate) control: String,
    recordings: Arc<Mutex<Vec<Arc<Recording>>>>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let control = listener.local_addr().unwrap().to_string();
        let recordings: Arc<Mutex<Vec<Arc<Recording>>>> = Arc::default();
        let all = recordings.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let mut target = String::new();
                reader.read_line(&mut target).unwrap();
                let addr = proxy_to(target.trim().to_string(), all.clone());
                writeln!(reader.get_mut(), "{addr}").unwrap();
            }
        });
        Recorder {
            control,
            recordings,
        }
    }

    /// All connections so far.
    pub(crate) fn recordings(&self) -> Vec<Arc<Recording>> {
        self.recordings.lock().unwrap().clone()
    }
}

fn proxy_to(target: String, all: Arc<Mutex<Vec<Arc<Recording>>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            // the target may be a process that was killed
            let Ok(server) = TcpStream::connect(&target) else {
                continue;
            };
            let recording = Arc::new(Recording::default());
            all.lock().unwrap().push(recording.clone());
            let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let recording2 = recording.clone();
            thread::spawn(move || copy(client, server, &recording.to_server));
            thread::spawn(move || copy(server2, client2, &recording2.to_client));
        }
    });
    addr
}

fn copy(mut from: TcpStream, mut to: TcpStream, record: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 1 << 16];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        record.lock().unwrap().extend_from_slice(&buffer[..n]);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// One direction of a recording as TLS records.
pub(crate) struct Records {
    /// Type and content of each whole record.
    pub(crate) all: Vec<(u8, Vec<u8>)>,
}

impl Records {
    /// Panics where something is not a TLS record. A last record that was cut by a kill is left out.
    pub(crate) fn read(mut bytes: &[u8]) -> Self {
        let mut all = Vec::new();
        while bytes.len() >= 5 {
            let len = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
            assert!(
                (20..=23).contains(&bytes[0]) && bytes[1] == 3 && len <= (1 << 14) + 256,
                "not a TLS record: {:02x?}",
                &bytes[..bytes.len().min(16)]
            );
            if bytes.len() < 5 + len {
                break;
            }
            all.push((bytes[0], bytes[5..5 + len].to_vec()));
            bytes = &bytes[5 + len..];
        }
        Records { all }
    }

    /// What anybody can read: all records that are not encrypted.
    pub(crate) fn clear(&self) -> Vec<u8> {
        let clear = self.all.iter().filter(|(kind, _)| *kind != 23);
        clear.flat_map(|(_, content)| content.clone()).collect()
    }

    /// How many bytes are encrypted.
    pub(crate) fn encrypted(&self) -> usize {
        let encrypted = self.all.iter().filter(|(kind, _)| *kind == 23);
        encrypted.map(|(_, content)| content.len()).sum()
    }

    /// The extensions of the hello at the beginning, by number; every further record must be encrypted, or the one-byte
    /// change of cipher that TLS 1.3 sends for the sake of old middle boxes.
    pub(crate) fn hello(&self, kind: u8) -> Vec<(u16, Vec<u8>)> {
        let (record, hello) = &self.all[0];
        assert_eq!((*record, hello[0]), (22, kind), "no hello at the beginning");
        for (record, content) in &self.all[1..] {
            assert!(
                *record == 23 || (*record == 20 && content == &[1]),
                "a record of type {record} in clear"
            );
        }
        // handshake header, version, random
        let mut rest = &hello[4 + 2 + 32..];
        let mut skip = |bytes: usize| {
            let (head, tail) = rest.split_at(bytes);
            rest = tail;
            head.iter().fold(0, |n, &b| n << 8 | usize::from(b))
        };
        let session = skip(1);
        skip(session);
        if kind == 1 {
            let suites = skip(2);
            skip(suites);
            let compression = skip(1);
            skip(compression);
        } else {
            skip(3);
        }
        skip(2);
        let mut extensions = Vec::new();
        while let [a, b, c, d, tail @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*c, *d]));
            extensions.push((u16::from_be_bytes([*a, *b]), tail[..len].to_vec()));
            rest = &tail[len..];
        }
        extensions
    }
}

/// Where `needle` begins in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &str) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle.as_bytes())
}
