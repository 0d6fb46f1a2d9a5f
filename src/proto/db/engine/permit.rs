//! What the policy says of the database: which families a peer may write and read here, and who is a global node.

use std::sync::Arc;

use super::{Broken, Db, Link, LinkId, Output, Role, globals::GlobalLink};
use crate::proto::{
    close::CloseReason,
    db::{
        item::Item,
        name::{Family, WriteRefused},
        wire::{Subscribe, Wire},
    },
    id::NodeId,
    limits::Now,
    policy::{Asked, Denial, Operation, PeerPolicy, Policy},
};

impl Db {
    /// What whom no link has proved may be, from now on.
    pub fn set_general_policy(&mut self, policy: Policy) {
        self.config.policy = policy;
    }

    /// What the peer of that link may do from now on. Subscriptions that it may not have any more end; those that were
    /// refused and are permitted now begin.
    ///
    /// # Errors
    /// It was taken for a global node, and is no longer: close the link with that.
    pub fn set_policy(
        &mut self,
        link: LinkId,
        policy: Arc<PeerPolicy>,
        now: Now,
    ) -> Result<(), CloseReason> {
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(());
        };
        state.policy = policy;
        let (node, says_global) = (state.node.clone(), state.says_global);
        let is_global = match &state.role {
            Role::Global(global) => GlobalLink::is_taken(global),
            Role::Home(_) => true,
            Role::Plain | Role::Attached(_) => false,
        };
        let trusts = self.trusts(&node);
        if is_global && !trusts {
            let text = format!(
                "{} takes {node} for no global node any more",
                self.config.node
            );
            self.outputs
                .push_back(Output::NotGlobal(node, text.clone()));
            return Err(CloseReason::NotGlobal(text));
        }
        if says_global && trusts && !is_global {
            match self.config.global {
                true => self.meet_global(link, now),
                false => self.look_for_home(now),
            }
        }
        self.look_at_subscriptions(link)
            .map_err(|text| CloseReason::Protocol(text.to_owned()))
    }

    fn look_at_subscriptions(&mut self, link: LinkId) -> Result<(), Broken> {
        let Some(state) = self.links.get(&link) else {
            return Ok(());
        };
        let Link { role, policy, .. } = state;
        let Role::Attached(attached) = role else {
            return Ok(());
        };
        let may = |family: &Family| {
            let asked = Asked::Name(family.as_str());
            policy.is_open(Operation::DbRead) || policy.decide(Operation::DbRead, &asked).allowed
        };
        let ended = attached.subs.iter().map(|(id, sub)| sub.asked(*id));
        let ended: Vec<Subscribe> = ended.filter(|asked| !may(&asked.family)).collect();
        let denied = attached.denied.values();
        let begun: Vec<Subscribe> = denied.filter(|asked| may(&asked.family)).cloned().collect();
        // those that are not permitted are refused as if they had been asked for now
        for asked in ended.into_iter().chain(begun) {
            self.handle_subscribe(link, asked)?;
        }
        Ok(())
    }

    /// Whether the peer may read that family. `false`: it was told that it may not.
    pub(super) fn permits_reading(&mut self, link: LinkId, asked: &Subscribe) -> bool {
        let Some(Link { node, policy, .. }) = self.links.get(&link) else {
            return false;
        };
        let name = Asked::Name(asked.family.as_str());
        let Err(denial) = policy.check(node, Operation::DbRead, &name) else {
            if let Some((_, attached)) = self.attached(link) {
                attached.denied.remove(&asked.sub);
            }
            return true;
        };
        let node = node.clone();
        self.drop_sub(link, asked.sub);
        let subs_max = self.config.limits.db_subscriptions_max;
        if let Some((_, attached)) = self.attached(link)
            && !asked.once
            && attached.denied.len() < subs_max
        {
            // of what it had it keeps nothing
            let asked = Subscribe {
                known: Vec::new(),
                ..asked.clone()
            };
            attached.denied.insert(asked.sub, asked);
        }
        let text = denial.text.clone();
        self.say(
            link,
            Wire::Denied {
                sub: asked.sub,
                text,
            },
        );
        self.outputs.push_back(Output::Denied(node, denial));
        false
    }

    /// Whether the peer may have that entry here.
    pub(super) fn permits_writing(
        policy: &PeerPolicy,
        node: &NodeId,
        family: &Family,
        item: &Item,
    ) -> Result<(), Denial> {
        match item {
            // what it may not write it may remove; what is the system's is looked at by itself
            Item::Set { .. } if !family.is_system() => {
                policy.check(node, Operation::DbWrite, &Asked::Name(family.as_str()))
            }
            _ => Ok(()),
        }
    }

    /// A write that the policy refuses.
    pub(super) fn write_denied(&mut self, node: &NodeId, denial: Denial) -> WriteRefused {
        let why = WriteRefused::NotPermitted(denial.text.clone());
        self.outputs.push_back(Output::Denied(node.clone(), denial));
        why
    }
}
