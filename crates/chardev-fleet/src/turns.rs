//! When consoles that wait for more to come go on: all together, so that the thread wakes up once
//! for all of them, and their messages go in few writes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// For how long at most after a message that was not full more is waited for: what is printed
/// meanwhile goes together. It is about as long as an answer takes.
const REST: Duration = Duration::from_millis(3);

/// The turns, of which there is one timer, while anybody wants one.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    number: watch::Receiver<u64>,
    wanted: Arc<Notify>,
}

impl Turns {
    /// Has to be called on a runtime, on which it goes on.
    pub(crate) fn start() -> Turns {
        let (next, number) = watch::channel(0);
        let wanted = Arc::new(Notify::new());
        let turns = Turns {
            number,
            wanted: Arc::clone(&wanted),
        };
        tokio::spawn(async move {
            loop {
                wanted.notified().await;
                tokio::time::sleep(REST).await;
                next.send_modify(|it| *it += 1);
            }
        });
        turns
    }

    /// The number of the next turn, which comes within [`REST`].
    pub(crate) fn next(&self) -> u64 {
        self.wanted.notify_one();
        *self.number.borrow() + 1
    }

    /// Waits for a turn.
    pub(crate) async fn wait(&mut self, number: u64) {
        // It fails when the runtime ends, and this with it.
        let _ = self.number.wait_for(|it| *it >= number).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_the_same_turn_goes_on_with_it_and_later_ones_come() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut turns = Turns::start();
            turns.wait(0).await;
            let (first, mut other) = (turns.next(), turns.clone());
            assert_eq!(other.next(), first);
            tokio::join!(turns.wait(first), other.wait(first));
            let second = turns.next();
            assert!(second > first);
            turns.wait(second).await;
        });
    }
}
