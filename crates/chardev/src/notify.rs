//! host → back → [notify] → chardev: wake-ups from a chardev below, carried up on the I/O thread.
//!
//! A waker is called wherever something happened, also under locks of the chardevs above. So it
//! only notes that; a task looks at the chardevs above with no lock held.

use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};

use chardev_core::Users;
use tokio::sync::Notify;

use crate::port::{OwnedTask, Port};

/// Turns calls of a waker into [`Users::kick`]. It lives as long as the waker.
#[derive(Debug)]
pub(crate) struct Notifier {
    notify: Arc<Notify>,
    task: OnceLock<OwnedTask>,
}

impl Notifier {
    /// A notifier and its waker.
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let notifier = Arc::new(Notifier {
            notify: Arc::new(Notify::new()),
            task: OnceLock::new(),
        });
        let waker = Waker::from(Arc::clone(&notifier));
        (notifier, waker)
    }

    /// From here on wake-ups reach `users`.
    pub(crate) fn serve(&self, port: &Port, users: &Users) {
        let (notify, users) = (Arc::clone(&self.notify), users.clone());
        let task = OwnedTask::spawn(port, async move {
            loop {
                notify.notified().await;
                users.kick();
            }
        });
        let _ = self.task.set(task);
    }
}

impl Wake for Notifier {
    fn wake(self: Arc<Self>) {
        self.notify.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify.notify_one();
    }
}
