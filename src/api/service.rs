//! Services: registered functions that are started with the node.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{error::StartError, node::Node, table::PlainWork};
use crate::{
    proto::{
        id::PortId,
        limits::Limits,
        message::{EncodeError, IntoMessage, Message},
        policy::ADMIN_PREFIX,
    },
    runtime::registry::{Function, Target},
};

/// How long an init function may take.
const INIT_MAX: Duration = Duration::from_secs(10);

/// A service to be started.
pub(super) struct Service {
    pub(super) name: String,
    args: Result<Message, EncodeError>,
}

impl Service {
    pub(super) fn new(name: String, args: impl IntoMessage) -> Self {
        Service {
            name,
            // the node's own limits are asked when it is started
            args: args.into_args(&Limits::default()),
        }
    }
}

/// All of them must be registered.
pub(super) fn check(
    services: &[Service],
    functions: &HashMap<String, Arc<dyn Function>>,
) -> Result<(), StartError> {
    let unknown = services.iter().find(|s| !functions.contains_key(&s.name));
    let Some(service) = unknown else {
        return Ok(());
    };
    // those by which a node is administered are no services
    let known = functions.keys().map(String::as_str);
    let known: BTreeSet<&str> = known
        .filter(|name| !name.starts_with(ADMIN_PREFIX))
        .collect();
    let known: Vec<&str> = known.into_iter().collect();
    Err(StartError::NoService {
        name: service.name.clone(),
        known: match known.as_slice() {
            [] => "this program registers no functions".to_owned(),
            known => format!("this program registers {}", known.join(", ")),
        },
    })
}

/// Starts one after the other; where one fails the node is stopped.
pub(super) async fn start(node: &Node, services: Vec<Service>) -> Result<(), StartError> {
    for service in services {
        if let Err(error) = start_one(node, service).await {
            node.shutdown(Duration::ZERO).await;
            return Err(error);
        }
    }
    Ok(())
}

async fn start_one(node: &Node, Service { name, args }: Service) -> Result<(), StartError> {
    let failed = |text: String| StartError::Service {
        name: name.clone(),
        text,
    };
    let args = args.map_err(|error| failed(error.to_string()))?;
    let port = node
        .spawn(node.id(), &name, args)
        .map_err(|error| failed(error.to_string()))?;
    match tokio::time::timeout(INIT_MAX, ready(node, &port)).await {
        Ok(ready) => ready.map_err(failed),
        Err(_) => {
            let text = format!("its init function did not return within {INIT_MAX:?}");
            Err(failed(text))
        }
    }
}

/// Waits until the port's init function has returned. `Err`: what it died of.
async fn ready(node: &Node, port: &PortId) -> Result<(), String> {
    let dead = node.monitor(port).death();
    let (done, mut returned) = oneshot::channel();
    if let Some(Target::Port(cell)) = node.registry().find(port.name().as_str()) {
        // stands behind the init function
        let work = PlainWork(Box::new(move |_| {
            Box::pin(async move {
                let _ = done.send(());
                Ok(())
            })
        }));
        let _ = node.work(&cell, Box::new(work), true);
    }
    let reason = tokio::select! {
        biased;
        Ok(()) = &mut returned => return Ok(()),
        reason = dead => reason,
    };
    // it has done what it was for, and ended
    if returned.try_recv().is_ok() || reason.is_normal() {
        return Ok(());
    }
    Err(reason.to_string())
}
