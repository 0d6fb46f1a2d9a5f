//! Where nothing happens nothing is said, but for what the global nodes tell each other now and then.

use std::time::Duration;

use super::super::world::World;

const QUIET: Duration = Duration::from_secs(15);

pub fn nobody_talks(world: &World) -> Result<(), String> {
    let (at, what) = &world.last_news;
    if *at + QUIET > world.quiet_at {
        return Err(format!(
            "still {:?} before the end {what}",
            world.quiet_at - *at
        ));
    }
    Ok(())
}
