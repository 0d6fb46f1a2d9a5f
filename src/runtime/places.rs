//! Where a node listens, where others find it, and which addresses are its own.

use tokio::task::JoinSet;

use super::{
    mesh::{MeshConfig, MeshStartError},
    transport::SharedTransport,
};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// The local addresses of the listeners.
    pub(super) listen: Vec<String>,
    /// What others are told instead.
    pub(super) advertise: Vec<String>,
}

impl Places {
    /// What others are told.
    pub(super) fn advertised(&self, transport: &SharedTransport) -> Vec<String> {
        if self.advertise.is_empty() && !self.listen.is_empty() {
            transport.advertised(&self.listen)
        } else {
            self.advertise.clone()
        }
    }

    /// Whether that address leads to this node, as far as it can be told without dialling.
    pub(super) async fn has(&self, transport: &SharedTransport, addr: &str) -> bool {
        if self.listen.is_empty() {
            return false;
        }
        let advertised = self.advertised(transport);
        transport.is_own(addr, &self.listen, &advertised).await
    }

    /// Whether all of them do. Asked at the same time, since names may take theirs to resolve.
    pub(super) async fn has_all(&self, transport: &SharedTransport, addrs: Vec<String>) -> bool {
        let mut asked = JoinSet::new();
        for addr in addrs {
            let (places, transport) = (self.clone(), transport.clone());
            asked.spawn(async move { places.has(&transport, &addr).await });
        }
        while let Some(own) = asked.join_next().await {
            // a transport that panics says nothing of this node
            if !own.unwrap_or(false) {
                return false;
            }
        }
        true
    }
}

impl MeshConfig {
    /// Fills in what the addresses to dial leave out, and refuses those that can never be dialled.
    pub(super) fn complete(&mut self) -> Result<(), MeshStartError> {
        let transport = &self.transport;
        let complete = |what: &'static str, addrs: &mut Vec<String>| {
            let mut full = Vec::with_capacity(addrs.len());
            for addr in addrs.iter() {
                let addr = transport.complete(addr);
                let addr = addr.map_err(|source| MeshStartError::Address { what, source })?;
                if !full.contains(&addr) {
                    full.push(addr);
                }
            }
            *addrs = full;
            Ok::<_, MeshStartError>(())
        };
        complete("a seed", &mut self.seeds)?;
        complete("an address to advertise", &mut self.advertise)?;
        for addrs in self.addresses.values_mut() {
            complete("the address of a node", addrs)?;
        }
        match self.advertise.first() {
            Some(addr) if self.listen.is_empty() => {
                Err(MeshStartError::NothingToAdvertise { addr: addr.clone() })
            }
            _ => Ok(()),
        }
    }
}
