//! L4: what was cut in two has joined again, and every node has a home.

use std::collections::BTreeSet;

use super::super::world::World;

pub fn all_hang_together(world: &mut World) -> Result<(), String> {
    let living: Vec<usize> = world.living().iter().map(|(host, _)| *host).collect();
    let globals = living.iter().filter(|host| world.hosts[**host].is_global);
    let globals: BTreeSet<usize> = globals.copied().collect();
    let mut reached = BTreeSet::new();
    let mut todo: Vec<usize> = globals.first().copied().into_iter().collect();
    while let Some(at) = todo.pop() {
        if reached.insert(at) {
            let conns = world
                .conns
                .values()
                .filter(|c| c.is_up() && c.ends.contains(&at));
            todo.extend(
                conns
                    .map(|c| c.ends[1 - c.side(at)])
                    .filter(|to| globals.contains(to)),
            );
        }
    }
    if reached != globals {
        return Err(format!("of {globals:?} only {reached:?} are linked"));
    }
    for host in living {
        if globals.contains(&host) {
            continue;
        }
        let me = world.hosts[host].name.clone();
        let home = world.hosts[host].db.as_ref().unwrap().home().cloned();
        let at = home
            .as_ref()
            .and_then(|home| world.names.get(home))
            .copied();
        if !at.is_some_and(|at| globals.contains(&at)) {
            return Err(format!("{me} has the home {home:?}"));
        }
        let lists = globals.iter().filter(|global| {
            let db = world.hosts[**global].db.as_ref().unwrap();
            db.attached_nodes().contains(&me)
        });
        let lists: Vec<usize> = lists.copied().collect();
        if lists != at.into_iter().collect::<Vec<_>>() {
            return Err(format!(
                "{me} has the home {home:?} and is listed by {lists:?}"
            ));
        }
    }
    Ok(())
}
