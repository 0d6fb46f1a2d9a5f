//! The messages that came with one and go to the same handler.

use super::handlers::Table;
use crate::{
    proto::message::{Batch, Message},
    runtime::{behaviour::Fault, port::PortCell},
};

/// See the module. Their handler need not be looked up, nor room be made for its future, once a message.
pub(crate) struct More<'a>(Option<Run<'a>>);

struct Run<'a> {
    batch: &'a mut Batch,
    tag: Box<str>,
    port: &'a PortCell,
    rules: &'a dyn Rules,
}

/// What the messages need of the table that their handler is in, whatever the state of the port is.
trait Rules: Sync {
    fn ignores_bad(&self) -> bool;
}

impl<S: 'static> Rules for Table<S> {
    fn ignores_bad(&self) -> bool {
        Table::ignores_bad(self)
    }
}

impl<'a> More<'a> {
    /// Those of the batch behind a message with that tag.
    pub(crate) fn new<S: 'static>(
        tag: Option<&str>,
        batch: Option<&'a mut Batch>,
        port: &'a PortCell,
        table: &'a Table<S>,
    ) -> Self {
        More(match (tag, batch) {
            (Some(tag), Some(batch)) if !batch.is_empty() => Some(Run {
                tag: tag.into(),
                batch,
                port,
                rules: table,
            }),
            _ => None,
        })
    }

    /// The next of them. None as well where something else comes first: a kill, other handlers.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let run = self.0.as_mut()?;
        if run.port.is_urgent() || run.port.has_new_table() {
            return None;
        }
        run.batch.next_if_tagged(&run.tag)
    }

    /// What is to be done about a message that is not what its handler asks for: nothing, where the port ignores them.
    pub(crate) fn bad(&self, fault: Fault) -> Result<(), Fault> {
        match (&self.0, fault) {
            (Some(run), Fault::BadMessage(text)) if run.rules.ignores_bad() => {
                tracing::trace!(text, "bad message ignored");
                Ok(())
            }
            (_, fault) => Err(fault),
        }
    }
}
