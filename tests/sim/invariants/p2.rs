//! P2: a message that was accepted is handed to the port, or every monitor that the sender's node holds on that port
//! fires; and before it has nothing that was sent later is handed to the port.

use super::View;

pub fn check(view: &View<'_>) -> Result<(), String> {
    for ((life, to), lane) in view.lanes() {
        let watches: Vec<_> = view.watches_on(life, to).collect();
        if watches.is_empty() {
            continue;
        }
        for (at, lost) in lane.iter().enumerate() {
            if !lost.handled.is_empty() {
                continue;
            }
            let next = lane[at + 1..].iter().find_map(|sent| {
                let handled = *sent.handled.first()?;
                Some((sent.no, handled))
            });
            for watch in &watches {
                if !watch.held_at(lost.sent) {
                    continue;
                }
                let ended = watch.ended();
                if let Some((later, handled)) = next
                    && ended.is_none_or(|ended| ended > handled)
                {
                    return Err(format!(
                        "message {} to {to} was lost, {later} was handled before monitor {} fired",
                        lost.no, watch.no
                    ));
                }
                if ended.is_none() && view.survived(life) {
                    return Err(format!(
                        "message {} to {to} was lost and monitor {} did not fire",
                        lost.no, watch.no
                    ));
                }
            }
        }
    }
    Ok(())
}
