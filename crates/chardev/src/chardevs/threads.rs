//! front → [chardev] → back → host: how many I/O threads there are, and what they have done.

use crate::Chardevs;
use crate::io_threads::IoThread;

impl Chardevs {
    /// How often the I/O threads have been woken so far. Chardevs that nobody uses do not wake
    /// them.
    pub fn wakeups(&self) -> u64 {
        let woken = |thread: &IoThread| {
            thread.runtime.metrics().worker_park_count(0) + thread.reactor.reports()
        };
        self.shared.io_threads().all().map(woken).sum()
    }

    /// Lets chardevs that are added from here on be spread over up to `most` I/O threads, which are
    /// made when they are needed: 1 at first, and never more than [`IO_THREADS_LIMIT`]. The last
    /// `for_bulk` of them only serve what is told to be [spread out](Chardevs::spread_out): many
    /// consoles with little each are served best by a thread that finds several of them ready at a
    /// time, as long as it has a CPU for itself. Does not wait.
    ///
    /// Each chardev is served by one of them; a task that moves bytes between chardevs and is to be
    /// beside them is started by [`Chardevs::spawn_beside`].
    ///
    /// (In a build with debug assertions the environment variable `CHARDEV_IO_THREADS` says how
    /// many there may be at first, for tests.)
    ///
    /// [`IO_THREADS_LIMIT`]: crate::IO_THREADS_LIMIT
    pub fn set_io_threads(&self, most: usize, for_bulk: usize) {
        self.shared.io_threads().set_most(most, for_bulk);
    }

    /// How many I/O threads there may be.
    pub fn io_threads(&self) -> usize {
        self.shared.io_threads().most()
    }
}
