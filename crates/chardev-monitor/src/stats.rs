//! What `x-query-chardev-stats` says of a chardev.

use std::time::Duration;

use chardev::{Details, DropReason, Epoch, Info, Stats};
use chardev_qapi::Object;

/// One element of the answer.
pub(crate) fn describe(info: &Info, details: &Details, attached: Vec<Object>) -> Object {
    let stats = &details.stats;
    let mut described = with_epoch(Object::new(), details.epoch)
        .with("label", info.label.as_str())
        .with("kind", info.kind)
        .with("open", info.open)
        .with("frontend-open", info.frontend_open);
    for counter in Stats::COUNTERS {
        described.insert(counter.name, (counter.get)(stats));
    }
    let mut described = described
        .with("viewers", details.viewers as u64)
        .with("output-offset", stats.output_accepted)
        .with("output-oldest", details.oldest_kept)
        .with("input-offset", stats.input_delivered)
        .with("output-pending", details.output_pending)
        .with("input-pending", details.input_pending)
        .with("log-pending", details.log_pending);
    let mut dropped = Object::new();
    for reason in DropReason::ALL {
        dropped.insert(reason.as_str(), stats.dropped(reason));
    }
    described.insert("dropped", dropped);
    if let Some(unread) = details.ring_unread {
        described.insert("ring-unread", unread);
    }
    if let Some(trouble) = &details.log_trouble {
        described.insert("log-trouble", trouble.as_str());
    }
    if let Some(size) = details.size {
        let size = Object::new()
            .with("cols", u64::from(size.cols))
            .with("rows", u64::from(size.rows));
        described.insert("size", size);
    }
    if let Some(peer) = &details.peer {
        described.insert("peer", peer.as_str());
    }
    if !attached.is_empty() {
        described.insert("attached", attached);
    }
    if let Some(times) = &details.change_times {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let times = Object::new()
            .with("last-us", micros(times.last))
            .with("p50-us", micros(times.p50))
            .with("p99-us", micros(times.p99));
        described.insert("change-times", times);
    }
    described
}

/// Says which life of a chardev the offsets beside it are of.
pub(crate) fn with_epoch(data: Object, epoch: Option<Epoch>) -> Object {
    match epoch {
        Some(epoch) => data.with("epoch", epoch.to_string()),
        None => data,
    }
}
