//! L3: every node finds the addresses of every public node by its ID alone.

use portmesh::proto::db::engine::{Advert, Output, Query};

use super::super::world::World;

pub fn every_node_is_found(world: &mut World) -> Result<(), String> {
    let living = world.living();
    for (host, _) in &living {
        for (wanted, life) in &living {
            let name = world.hosts[*wanted].name.clone();
            let (me, address) = (world.name(*host), format!("at:{name}"));
            if world.hosts[*host].is_global {
                let found = world.hosts[*host].db.as_ref().unwrap().addresses(&name);
                if found != [address] {
                    return Err(format!("{me} finds {name} at {found:?}"));
                }
                continue;
            }
            let advert = world.hosts[*host].adverts.get(name.as_str());
            let is_good = advert.is_some_and(|advert| {
                advert.addr == [address] && advert.version == life.to_string()
            });
            if !is_good {
                return Err(format!("{me} finds {name} at {advert:?}"));
            }
        }
    }
    Ok(())
}

/// Each node that is not global asks for all of the others.
pub fn ask(world: &mut World) {
    for (host, _) in world.living() {
        if world.hosts[host].is_global {
            continue;
        }
        for (wanted, _) in world.living() {
            let key = world.name(wanted);
            let query = Query::Key("'nodes".parse().unwrap(), key.as_str().into());
            let now = world.clock(host);
            let id = world.hosts[host].db.as_mut().unwrap().query(query, now);
            world.hosts[host].adverts_asked.insert(id);
            world.pump(host);
        }
    }
}

/// One of the answers.
pub fn answered(world: &mut World, host: usize, output: &Output) -> bool {
    let Output::Answer(id, found) = output else {
        return false;
    };
    if !world.hosts[host].adverts_asked.remove(id) {
        return false;
    }
    for (key, found) in found {
        if let Ok(advert) = found.value.decode::<Advert>() {
            world.hosts[host].adverts.insert(key.to_string(), advert);
        }
    }
    true
}
