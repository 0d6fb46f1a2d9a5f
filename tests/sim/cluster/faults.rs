//! What goes wrong in a run, and the calm behind it.

use super::*;

impl Cluster {
    pub(super) fn fault(&mut self, op: Op) {
        if self.calm && !matches!(op, Op::Last | Op::Unstick) {
            return;
        }
        match op {
            Op::Cut { a, b } => {
                for (conn, _) in self.w.net.between(a, b) {
                    self.w.count("cut");
                    if self.w.net.cut(conn, self.w.now) > 0 {
                        self.w.count("cut with bytes under way");
                    }
                    let fault = "cut";
                    self.w.log(a, 0, What::Broken { conn, fault });
                }
            }
            Op::HalfOpen { from, to } => {
                for (conn, hosts) in self.w.net.between(from, to) {
                    let side = usize::from(hosts[0] != from);
                    self.w.count("half-open");
                    if self.w.net.black_hole(conn, side) > 0 {
                        self.w.count("half-open with bytes under way");
                    }
                    let fault = "half-open";
                    self.w.log(from, 0, What::Broken { conn, fault });
                }
            }
            Op::Stall { from, to, lasts } => {
                self.w.count("stall");
                let until = self.w.now + lasts;
                if let Some(path) = self.w.net.paths.get_mut(&(from, to)) {
                    path.stalled_until = path.stalled_until.max(until);
                }
                self.w.log(from, 0, What::Stalled { to, until });
            }
            Op::Hang { host, lasts } => {
                let until = self.w.now + lasts;
                let awake = self.hosts[host].hung_until <= self.w.now;
                if let Some(node) = &self.hosts[host].node
                    && awake
                {
                    let long = lasts > self.w.limits.link_timeout;
                    self.w.count(if long { "long hang" } else { "short hang" });
                    let life = node.life;
                    self.hosts[host].hung_until = until;
                    self.hosts[host].ends = Some(until);
                    self.w.log(host, life, What::Hung(until));
                    self.w.at(until, Event::Wake { host });
                }
            }
            Op::Crash {
                host,
                silently,
                restart,
                older,
            } if self.hosts[host].node.is_some() => {
                self.crash(host, silently);
                if let Some(after) = restart {
                    self.w.after(after, Event::Restart { host, older });
                }
            }
            Op::Both { a, b } => self.both(a, b),
            Op::CutOneSide { a, b } => {
                for (conn, hosts) in self.w.net.between(a, b) {
                    self.w.count("cut that only one side learns of");
                    let side = usize::from(hosts[0] != a);
                    self.w.net.cut_one_side(conn, side, self.w.now);
                    let fault = "half-open";
                    self.w.log(a, 0, What::Broken { conn, fault });
                }
                let node = self.names[b].clone();
                self.w
                    .after(Duration::from_millis(40), Event::Op(Op::Both { a, b }));
                if self.hosts[a].hung_until <= self.w.now {
                    self.with(a, |at, w| at.want(w, &node));
                }
            }
            Op::BadConnect { from, to, after } => {
                for (conn, _) in self.w.net.between(from, to) {
                    self.w.net.cut(conn, self.w.now);
                    let fault = "cut";
                    self.w.log(from, 0, What::Broken { conn, fault });
                }
                self.w.after(
                    Duration::from_millis(45),
                    Event::Op(Op::Both { a: from, b: to }),
                );
                self.w.after(
                    Duration::from_millis(45) + after,
                    Event::Op(Op::HalfOpen { from, to }),
                );
            }
            Op::Impostor {
                of,
                newer,
                stranger,
                lasts,
            } => self.impostor(of, newer, stranger, lasts),
            Op::Calm => self.calm(),
            Op::Unstick => self.unstick(),
            Op::Last => self.last(),
            _ => {}
        }
    }

    pub(super) fn both(&mut self, a: usize, b: usize) {
        let (first, second) = (self.names[a].clone(), self.names[b].clone());
        let now = self.w.now;
        let up = |host: &Host, node| {
            host.hung_until > now || host.node.as_ref().is_none_or(|n| n.has_link(node))
        };
        if up(&self.hosts[a], &second) || up(&self.hosts[b], &first) {
            return;
        }
        self.w.count("both want a link at once");
        self.with(a, |node, w| node.want(w, &second));
        self.with(b, |node, w| node.want(w, &first));
    }

    pub(super) fn crash(&mut self, host: usize, silently: bool) {
        let Some(mut node) = self.hosts[host].node.take() else {
            return;
        };
        self.w.count(if silently { "power loss" } else { "crash" });
        self.w.log(host, node.life, What::Crashed);
        node.crash(&mut self.w, silently);
        self.w.alive[host] = false;
        self.hosts[host].hung_until = Duration::ZERO;
        self.hosts[host].ends = None;
        self.hosts[host].deferred.clear();
    }

    pub(super) fn impostor(&mut self, of: usize, newer: bool, stranger: bool, lasts: Duration) {
        if self.hosts[IMPOSTOR].node.is_some() {
            return;
        }
        self.w.count("second process of a node ID");
        let mut hello = self.hello(IMPOSTOR, of, !newer);
        if stranger {
            hello.identity = 99;
        }
        self.start(IMPOSTOR, Some(hello));
        let others: Vec<_> = (0..HOSTS).filter(|host| *host != of).collect();
        for other in others {
            let node = self.names[other].clone();
            let mut ports = self.w.directory.iter().filter(|id| *id.node() == node);
            let port = ports.next_back().cloned();
            self.with(IMPOSTOR, |at, w| {
                at.want(w, &node);
                if let Some(port) = port {
                    at.monitor(w, &port, OnFire::Again);
                    at.send(w, &port, "m", 20);
                }
            });
        }
        self.w.after(
            lasts,
            Event::Op(Op::Crash {
                host: IMPOSTOR,
                silently: false,
                restart: None,
                older: false,
            }),
        );
    }

    pub(super) fn calm(&mut self) {
        self.crash(IMPOSTOR, false);
        self.calm = true;
        self.w.log(0, 0, What::Calm);
        for path in self.w.net.paths.values_mut() {
            path.stalled_until = path.stalled_until.min(self.w.now);
        }
        for host in 0..HOSTS {
            if self.hosts[host].node.is_none() {
                self.w.at(self.w.now, Event::Restart { host, older: false });
            }
            self.hosts[host].hung_until = self.w.now;
            self.wake(host);
        }
    }

    /// Handlers that would never return end.
    pub(super) fn unstick(&mut self) {
        for host in 0..HOSTS {
            let stuck = text_reason("die", "stuck");
            self.with(host, |node, _| node.ports.die_stuck(&stuck));
        }
    }

    /// Every node sends a last message to every living port of the others, and monitors it.
    pub(super) fn last(&mut self) {
        let living: Vec<PortId> = (0..HOSTS)
            .filter_map(|host| self.hosts[host].node.as_ref())
            .flat_map(Node::living)
            .collect();
        for host in 0..HOSTS {
            for port in &living {
                if *port.node() != self.names[host] {
                    self.with(host, |node, w| {
                        node.monitor(w, port, OnFire::Nothing);
                        node.send(w, port, "m", 1);
                    });
                }
            }
        }
    }
}
