//! Connections of a node: dials, hellos, the time until they are links, their end.

use super::*;

impl Node {
    // --- connections ---

    pub(super) fn add_conn(
        &mut self,
        conn: ConnId,
        side: usize,
        stage: Stage,
        until: Duration,
    ) -> LinkId {
        let link = LinkId(NonZeroU64::new(self.next_link).unwrap());
        self.next_link += 1;
        self.by_conn.insert((conn, side), link);
        self.conns.insert(
            link,
            Conn {
                conn,
                side,
                stage,
                dial: None,
                hello: None,
                data: BytesMut::new(),
                awake: false,
                more: false,
                out: Vec::new(),
                until: Some(until),
            },
        );
        link
    }

    /// The network says whether somebody is there.
    pub fn handle_dialed(&mut self, w: &mut World, node: NodeId, conn: Option<ConnId>) {
        let Some(conn) = conn else {
            let reason = CloseReason::Transport("connection refused".into());
            return self.peers.handle_dial_failed(&node, reason, w.now());
        };
        let link = self.add_conn(conn, 0, Stage::Dialed, w.now + self.limits.auth_timeout);
        if let Some(made) = self.conns.get_mut(&link) {
            made.dial = Some(node);
        }
        w.net.write(conn, 0, wire::hello(&self.hello), w.now);
    }

    pub fn handle_accepted(&mut self, w: &World, conn: ConnId) {
        self.add_conn(conn, 1, Stage::Accepted, w.now + self.limits.auth_timeout);
    }

    pub fn handle_signal(&mut self, w: &mut World, conn: ConnId, side: usize) {
        let Some(&link) = self.by_conn.get(&(conn, side)) else {
            return;
        };
        for chunk in w.net.read(conn, side, w.now) {
            match chunk {
                Chunk::Bytes(bytes) => {
                    if let Some(conn) = self.conns.get_mut(&link) {
                        conn.data.extend_from_slice(&bytes);
                    }
                    self.process(w, link);
                }
                Chunk::End(text) => self.end(w, link, CloseReason::Transport(text.into())),
            }
        }
    }

    /// Reads what has come on a connection.
    pub(super) fn process(&mut self, w: &mut World, link: LinkId) {
        while let Some(conn) = self.conns.get_mut(&link) {
            if let Stage::Link(_) = conn.stage {
                return self.read_link(w, link);
            }
            if let Stage::Candidate { told: true } = conn.stage {
                return;
            }
            let Some(frame) = wire::take(&mut conn.data) else {
                return;
            };
            self.early(w, link, frame);
        }
    }

    pub(super) fn early(&mut self, w: &mut World, link: LinkId, frame: Early) {
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        let (id, side) = (conn.conn, conn.side);
        match (&mut conn.stage, frame) {
            (Stage::Accepted, Early::Hello(hello)) => {
                conn.hello = Some(hello);
                conn.stage = Stage::Answered;
                w.net.write(id, side, wire::hello(&self.hello), w.now);
            }
            (Stage::Dialed, Early::Hello(hello)) => {
                w.net.write(id, side, wire::ready(), w.now);
                conn.hello = Some(hello);
                self.candidate(w, link);
            }
            (Stage::Answered, Early::Ready) => self.candidate(w, link),
            (Stage::Candidate { told }, Early::Activate) => {
                *told = true;
                match self.peers.handle_activate(link, w.now()) {
                    Ok(()) => self.perform(w),
                    Err(reason) => self.end(w, link, reason),
                }
            }
            (_, Early::Close(code, text)) => {
                self.end(w, link, CloseReason::from_wire(code, &text));
            }
            (Stage::Candidate { .. }, Early::Ping) => {}
            (stage, other) => panic!("{other:?} in {stage:?}"),
        }
    }

    pub(super) fn candidate(&mut self, w: &mut World, link: LinkId) {
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        let Some(hello) = &conn.hello else { return };
        conn.stage = Stage::Candidate { told: false };
        conn.until = None;
        let dialed = conn.dial.take().is_some();
        if let Some((_, life)) = self.peers.link(&hello.node) {
            let same = life == hello.incarnation;
            w.count(match same {
                true => "second connection of a linked life",
                false => "connection of another life of a linked node",
            });
        }
        let candidate = Candidate {
            link,
            node: hello.node.clone(),
            incarnation: hello.incarnation,
            identity: [hello.identity; 32],
            dialed,
        };
        self.peers.handle_candidate(candidate, w.now());
        self.perform(w);
    }

    /// The connection has ended, or has to.
    pub(super) fn end(&mut self, w: &mut World, link: LinkId, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        match conn.stage {
            Stage::Candidate { .. } | Stage::Link(_) => {
                if matches!(conn.stage, Stage::Candidate { .. }) {
                    self.close_conn(w, link, &reason);
                }
                self.peers.handle_closed(link, reason, w.now());
                // a link is closed when `Peers` says that it is lost
                self.perform(w);
            }
            Stage::Accepted | Stage::Dialed | Stage::Answered => {
                let dial = conn.dial.take();
                self.close_conn(w, link, &reason);
                if let Some(node) = dial {
                    self.peers.handle_dial_failed(&node, reason, w.now());
                }
            }
        }
    }

    pub(super) fn close_conn(&mut self, w: &mut World, link: LinkId, reason: &CloseReason) {
        let Some(mut conn) = self.conns.remove(&link) else {
            return;
        };
        let out = std::mem::take(&mut conn.out);
        if !out.is_empty() {
            w.net.write(conn.conn, conn.side, out, w.now);
        }
        self.by_conn.remove(&(conn.conn, conn.side));
        if let Some(code) = reason.code() {
            let frame = wire::close(code, &reason.to_string());
            w.net.write(conn.conn, conn.side, frame, w.now);
        }
        w.net.close(conn.conn, conn.side, w.now);
        if let Stage::Link(session) = conn.stage {
            if session.held_bytes() > 0 {
                w.count("held messages at the end of a link");
            }
            session.close(&self.ports);
        }
    }

    pub(super) fn node_of(&self, link: LinkId) -> Option<NodeId> {
        Some(self.conns.get(&link)?.hello.as_ref()?.node.clone())
    }
}
