//! What all clones of a node share; it ends the node when the last of them goes.

use std::sync::{Arc, OnceLock};

use super::handlers::SharedTables;
use crate::runtime::{db::DbHost, mesh::Mesh, registry::Registry};

/// See the module.
pub(crate) struct NodeInner {
    pub(super) registry: Arc<Registry>,
    pub(super) db: Arc<DbHost>,
    pub(super) tables: SharedTables,
    pub(super) mesh: OnceLock<Arc<Mesh<Registry>>>,
    #[cfg(feature = "tls")]
    pub(super) live: OnceLock<super::credentials::Live>,
}

impl NodeInner {
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    #[cfg(feature = "tls")]
    pub(super) fn set_live(&self, live: super::credentials::Live) {
        let _ = self.live.set(live);
    }

    pub(crate) fn set_mesh(&self, mesh: Arc<Mesh<Registry>>) {
        let _ = self.mesh.set(mesh);
    }
}

impl Drop for NodeInner {
    fn drop(&mut self) {
        self.db.end();
        // the mesh ends with its last handle, which is ours
        self.registry.close(&crate::runtime::local::shutdown());
    }
}
