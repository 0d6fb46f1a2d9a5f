//! What a node's parts ask for: links up and down, frames in and out.

use super::*;

impl Node {
    // --- a link ---

    pub(super) fn read_link(&mut self, w: &mut World, link: LinkId) {
        let mut out = Reactions::default();
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        let Stage::Link(session) = &mut conn.stage else {
            return;
        };
        let now = w.now();
        let result = session.handle_bytes(&mut conn.data, now, &self.ports, &mut out);
        self.react(w, link, out);
        if let Err(reason) = result {
            if let CloseReason::Protocol(text) = &reason
                && !w.net.corrupt
            {
                let text = format!("protocol error: {text}");
                self.log(w, What::Stuck { text });
            }
            self.end(w, link, reason);
        }
    }

    /// Asks whether the link may end, where nobody uses it.
    pub(super) fn retire(&mut self, w: &mut World, link: LinkId) {
        let Some(node) = self.node_of(link) else {
            return;
        };
        if let Some(conn) = self.conns.get(&link)
            && let Stage::Link(session) = &conn.stage
        {
            let heard = session.idle_since();
            let now = w.now();
            let wake = self.remote(&node).retire(link, heard, now);
            self.wake(w, &node, wake);
        }
    }

    pub(super) fn room(&mut self, w: &mut World, link: LinkId, port: &PortName) {
        let mut out = Reactions::default();
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        if let Stage::Link(session) = &mut conn.stage {
            session.handle_room(port, w.now(), &self.ports, &mut out);
            self.react(w, link, out);
        }
    }

    pub(super) fn react(&mut self, w: &mut World, link: LinkId, out: Reactions) {
        let Some(node) = self.node_of(link) else {
            return;
        };
        if out.alive
            && let Some(at) = self.probing.iter().position(|p| *p == link)
            && w.mutant != Mutant::ProbeUnheard
        {
            self.probing.remove(at);
            self.log(w, What::Answered { link });
            self.peers.handle_alive(link, w.now());
        }
        for reply in out.replies {
            self.reply(w, &node, link, reply);
        }
        for frame in out.frames {
            let now = w.now();
            let loss = match &frame {
                PeerFrame::Loss { port, .. } => Some(port.clone()),
                _ => None,
            };
            if let Some(port) = loss.clone() {
                w.count("loss told");
                let port = PortId::new(node.clone(), port);
                self.log(w, What::LossTold { port });
            }
            if frame == PeerFrame::Stay {
                w.count("idle link needed by the peer");
                if w.mutant == Mutant::StayUnheard {
                    let word = CloseReason::from_wire(code::IDLE, "");
                    return self.end(w, link, word);
                }
            }
            let handled = self.remote(&node).handle(link, frame, now);
            if loss.is_some() && !handled.fired.is_empty() {
                w.count("monitor fired by a loss");
            }
            self.fire(w, handled.fired);
            if let Some(port) = handled.settle
                && w.mutant != Mutant::NeverSettle
            {
                let wake = self.remote(&node).settle(link, &port);
                self.wake(w, &node, wake);
            }
            self.wake(w, &node, handled.wake);
            if let Some(reason) = handled.close {
                if !w.net.corrupt && reason != CloseReason::Idle {
                    let text = format!("protocol error: {reason}");
                    self.log(w, What::Stuck { text });
                }
                return self.end(w, link, reason);
            }
        }
    }

    pub(super) fn reply(&mut self, w: &mut World, node: &NodeId, link: LinkId, reply: Reply) {
        match &reply {
            Reply::Hold { .. } => w.count("hold told"),
            Reply::Loss { .. } if self.remote(node).is_wanted() => {
                w.count("loss told while sending the other way");
            }
            _ => {}
        }
        let wake = self.remote(node).reply(link, reply);
        self.wake(w, node, wake);
    }
    // --- outputs ---

    pub(super) fn perform(&mut self, w: &mut World) {
        while let Some(output) = self.peers.poll_output() {
            match output {
                PeersOutput::Dial(node) => self.dial(w, node),
                PeersOutput::Activate { link, node, tell } => self.activate(w, link, node, tell),
                PeersOutput::Refuse { link, reason } => self.refuse(w, link, &reason),
                PeersOutput::Lost { link, node, reason } => self.lost(w, link, &node, reason),
                PeersOutput::Probe(link) => {
                    self.log(w, What::Probed { link });
                    self.probing.push(link);
                    if let Some(node) = self.node_of(link) {
                        self.reply(w, &node, link, Reply::Ping(7));
                    }
                }
                PeersOutput::Unreachable { node, reason } => {
                    w.count("unreachable");
                    let peer = node.clone();
                    let why = reason.clone();
                    self.log(w, What::Unreachable { peer, reason: why });
                    self.end_epoch(w, &node, &reason);
                }
            }
        }
    }

    pub(super) fn dial(&mut self, w: &mut World, node: NodeId) {
        let target = w.addresses[&node];
        let delay = w.net.connect_delay(self.host, target);
        let event = Event::Dialed {
            host: self.host,
            life: self.life,
            node,
            target,
        };
        w.after(delay, event);
    }

    pub(super) fn activate(&mut self, w: &mut World, link: LinkId, node: NodeId, tell: bool) {
        let Some(conn) = self.conns.get_mut(&link) else {
            return;
        };
        let Some(hello) = &conn.hello else { return };
        if tell {
            w.net.write(conn.conn, conn.side, wire::activate(), w.now);
        }
        w.net.mark(conn.conn);
        let format = if hello.json && self.hello.json {
            Format::json()
        } else {
            Format::cbor()
        };
        let params = LinkParams {
            link,
            format: format.clone(),
            peer_window_bytes: hello.window as usize,
            peer_frame_bytes_max: hello.frame_max as usize,
            peer_message_bytes_max: hello.message_max as usize,
            keepalive: hello.link_timeout.min(self.limits.link_timeout) / 4,
            seed: link.0.get(),
            retire: true,
            pinned: false,
        };
        let session = SessionParams {
            link,
            node: node.clone(),
            incarnation: hello.incarnation,
            format,
            link_timeout: self.limits.link_timeout,
            db: false,
            retire: true,
            renew: true,
        };
        let now = w.now();
        let session = Session::new(session, &self.limits, std::sync::Arc::default(), now);
        conn.stage = Stage::Link(Box::new(session));
        let id = conn.conn;
        let peer = node.clone();
        self.log(
            w,
            What::Up {
                peer,
                link,
                conn: id,
            },
        );
        let wake = self.remote(&node).activate(params, now);
        self.wake(w, &node, wake);
        self.process(w, link);
    }

    pub(super) fn refuse(&mut self, w: &mut World, link: LinkId, reason: &CloseReason) {
        w.count(match reason {
            CloseReason::Duplicate => "refused as a duplicate",
            CloseReason::NodeIdInUse => "refused: node ID in use",
            CloseReason::OldIncarnation => "refused: older life",
            CloseReason::NotActivated => "refused: not activated in time",
            _ => "refused otherwise",
        });
        if let (Some(peer), Some(conn)) = (self.node_of(link), self.conns.get(&link)) {
            let turned = What::Turned {
                peer,
                conn: conn.conn,
                reason: reason.clone(),
            };
            self.log(w, turned);
        }
        self.close_conn(w, link, reason);
    }

    pub(super) fn lost(&mut self, w: &mut World, link: LinkId, node: &NodeId, reason: CloseReason) {
        self.probing.retain(|probed| *probed != link);
        let life = self.conns.get(&link).and_then(|conn| conn.hello.as_ref());
        let life = life.map(|hello| hello.incarnation);
        let now_linked = self.peers.link(node).map(|(_, life)| life);
        let moved = reason == CloseReason::Replaced && life.is_some() && now_linked == life;
        let reason = self.remote(node).why(reason, moved);
        if reason == CloseReason::Replaced {
            w.count("link replaced");
        }
        match (&reason, self.remote(node).is_wanted()) {
            (CloseReason::Idle, true) => w.count("idle link closed with something waiting"),
            (CloseReason::Idle, false) => w.count("idle link closed"),
            (_, true) => w.count("link lost with something under way"),
            (_, false) => {}
        }
        if moved && reason == CloseReason::Idle {
            w.count("idle link closed by the decider's word");
        }
        if let Some(conn) = self.conns.get(&link).map(|conn| conn.conn)
            && w.mutant != Mutant::DownUntold
        {
            let (peer, reason) = (node.clone(), reason.clone());
            self.log(
                w,
                What::Down {
                    peer,
                    link,
                    conn,
                    reason,
                },
            );
        }
        self.close_conn(w, link, &reason);
        self.end_epoch(w, node, &reason);
    }

    /// Everything that follows from an event, until nothing does.
    pub fn settle(&mut self, w: &mut World) {
        let mut quiet = true;
        loop {
            self.perform(w);
            let out = self.ports.take_out();
            if out.is_empty() {
                break;
            }
            quiet = false;
            for out in out {
                self.port_out(w, out);
            }
        }
        self.flush(w);
        if !quiet {
            self.measure(w);
        }
        let next = self.poll_timeout();
        if let Some(next) = next
            && self
                .timer
                .is_none_or(|timer| next < timer || timer <= w.now)
        {
            self.timer = Some(next);
            let (host, life) = (self.host, self.life);
            w.at(next, Event::Timer { host, life });
        }
    }

    pub(super) fn port_out(&mut self, w: &mut World, out: PortOut) {
        match out {
            PortOut::Reply(link, reply) => {
                if let Some(node) = self.node_of(link) {
                    self.reply(w, &node, link, reply);
                }
            }
            PortOut::Room(link, port) => self.room(w, link, &port),
            PortOut::Step(port, at) => {
                let (host, life) = (self.host, self.life);
                w.at(at, Event::PortStep { host, life, port });
            }
            PortOut::Log(what) => self.log(w, what),
            PortOut::Count(what) => w.count(what),
        }
    }

    pub(super) fn flush(&mut self, w: &mut World) {
        let links: Vec<_> = self.conns.keys().copied().collect();
        for link in links {
            let Some(node) = self.node_of(link) else {
                continue;
            };
            while let Some(conn) = self.conns.get_mut(&link)
                && conn.awake
                && matches!(conn.stage, Stage::Link(_))
            {
                let (id, side) = (conn.conn, conn.side);
                let room = w.net.room(id, side);
                if room == 0 {
                    w.count("writer waits for the network");
                    break; // a signal comes
                }
                if !conn.out.is_empty() {
                    // no more than the kernel takes
                    let rest = conn.out.split_off(room.min(conn.out.len()));
                    let part = std::mem::replace(&mut conn.out, rest);
                    w.net.write(id, side, part, w.now);
                    continue;
                }
                if !conn.more {
                    conn.awake = false;
                    break;
                }
                let mut out = Vec::new();
                let now = w.now();
                let transmit = self.remote(&node).transmit(&mut out, WRITE_BYTES, now);
                assert!(!transmit.more || !out.is_empty(), "more, but nothing came");
                if let Some(conn) = self.conns.get_mut(&link) {
                    conn.more = transmit.more;
                    conn.out = out;
                }
                if transmit.room {
                    self.retry(w, &node);
                }
                if transmit.lost {
                    let lost = self.remote(&node).take_lost();
                    w.count("cannot go over the link");
                    for port in &lost.settle {
                        let port = PortId::new(node.clone(), port.clone());
                        self.log(w, What::LossTold { port });
                    }
                    self.fire(w, lost.fired);
                    for port in lost.settle {
                        let wake = self.remote(&node).settle(link, &port);
                        self.wake(w, &node, wake);
                    }
                }
            }
        }
        self.perform(w);
    }

    pub(super) fn measure(&mut self, w: &mut World) {
        if let Some((value, bound)) = self.ports.measure() {
            let what = "mailbox";
            self.log(w, What::Measured { what, value, bound });
        }
        // the window, and the one message that it does not count (JSON makes it longer by a third)
        let alone = self.limits.message_bytes_max * 3 / 2;
        let bound = self.limits.window_bytes + alone + 2048;
        let held = self.conns.values().map(|conn| match &conn.stage {
            Stage::Link(session) => session.held_bytes(),
            _ => 0,
        });
        let value = held.max().unwrap_or(0);
        if value > bound {
            let what = "held by a session";
            self.log(w, What::Measured { what, value, bound });
        }
    }
}
