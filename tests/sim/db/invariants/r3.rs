//! R3: when all is quiet, all global nodes and all readers hold what the living nodes own. With it R2: what of it shows.

use super::super::{
    model::{Expected, View},
    world::World,
};

pub fn all_see_the_same(world: &mut World) {
    let living = world.living();
    let names: Vec<String> = world
        .hosts
        .iter()
        .map(|host| host.name.to_string())
        .collect();
    for family in 0..world.families.len() {
        let expected = world
            .model
            .view(family, &living, |host| names[host].clone());
        for (host, _) in &living {
            let me = names[*host].clone();
            match world.view(*host, family) {
                Some(view) => compare(world, &format!("{me} f{family}"), &view, &expected),
                None if world.hosts[*host].is_global => {
                    world.broken("R3", format!("{me} does not answer"));
                }
                None => {}
            }
            let readers: Vec<(u64, View, bool)> = world.hosts[*host]
                .readers
                .iter()
                .filter(|(_, reader)| reader.family == family)
                .map(|(id, reader)| (id.0, reader.view.clone(), reader.synced))
                .collect();
            for (id, view, synced) in readers {
                compare(
                    world,
                    &format!("reader {id} of {me} f{family}"),
                    &view,
                    &expected,
                );
                if !synced {
                    world.broken("R6", format!("reader {id} of {me} is not synced"));
                }
            }
            if let Some(view) = world.hosts[*host].last_answers.get(&family).cloned() {
                compare(
                    world,
                    &format!("answer to {me} f{family}"),
                    &view,
                    &expected,
                );
            }
        }
    }
    let globals = living
        .iter()
        .filter(|(host, _)| world.hosts[*host].is_global);
    let sums: Vec<(String, String, u64)> = globals
        .map(|(host, _)| {
            let sum = world.hosts[*host].db.as_ref().unwrap().summary();
            (names[*host].clone(), sum.digest, sum.owners)
        })
        .collect();
    if sums.windows(2).any(|pair| pair[0].1 != pair[1].1) {
        world.broken("R3", format!("global nodes differ: {sums:?}"));
    }
    if sums.iter().any(|sum| sum.2 != living.len() as u64) {
        let count = living.len();
        world.broken("R3", format!("{count} nodes live: {sums:?}"));
    }
}

fn compare(world: &mut World, who: &str, view: &View, expected: &Expected) {
    for (key, owners) in expected {
        let shown = view.get(key);
        if shown == owners.first() {
            continue;
        }
        let among = shown.is_some_and(|shown| {
            owners
                .iter()
                .any(|o| (o.owner, o.no) == (shown.owner, shown.no))
        });
        let line = if among { "R2" } else { "R3" };
        world.broken(
            line,
            format!("{who}: {key} is {shown:?} and not {owners:?}"),
        );
    }
    for (key, shown) in view {
        if !expected.contains_key(key) {
            world.broken(
                "R3",
                format!("{who}: {key} is {shown:?}, and nobody owns it"),
            );
        }
    }
}

/// Whether all would hold already.
pub fn holds(world: &mut World) -> bool {
    let living = world.living();
    let names: Vec<String> = world
        .hosts
        .iter()
        .map(|host| host.name.to_string())
        .collect();
    (0..world.families.len()).all(|family| {
        let expected = world
            .model
            .view(family, &living, |host| names[host].clone());
        let winners: View = expected
            .into_iter()
            .map(|(key, all)| (key, all[0]))
            .collect();
        let mut hosts = living.iter();
        hosts.all(|(host, _)| world.view(*host, family).is_none_or(|view| view == winners))
    })
}
