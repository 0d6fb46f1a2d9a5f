//! The contract, line by line, checked while a run goes on and at its end. One file a line, named after it.

use super::{model::View, world::World};

pub mod l3;
mod l4;
pub mod quiescence;
pub mod r2;
pub mod r3;
mod r4;
pub mod r5;
pub mod r6;
pub mod r7;
pub mod r8;
pub mod r9;
mod resurrection;

/// All of them. R1 is what R3 and R4 say together.
pub const ALL: &[&str] = &[
    "R2",
    "R3",
    "R4",
    "R5",
    "R6",
    "R7",
    "R8",
    "R9",
    "L3",
    "L4",
    "resurrection",
    "quiescence",
];

/// A node shows that family so, now.
pub fn seen(world: &mut World, host: usize, family: usize, view: &View) {
    let done = r4::no_dead_owner_shows(world, host, view);
    world.check("R4", done);
    let done = resurrection::nothing_comes_back(world, host, family, view);
    world.check("resurrection", done);
}

/// All is quiet.
pub fn at_the_end(world: &mut World) {
    let done = l4::all_hang_together(world);
    world.check("L4", done);
    r3::all_see_the_same(world);
    let done = l3::every_node_is_found(world);
    world.check("L3", done);
    let done = r9::all_waits_are_over(world);
    world.check("R9", done);
}
