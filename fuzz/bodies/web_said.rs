//! What must hold for what comes to the web page from outside and is read there: what a page says
//! over its stream, places in queries, lines of an index; and for the window of what is on its way.

use chardev_logs::Entry;
use chardev_web::said::{self, INPUT, WINDOW, Window};

/// The first byte says what the rest is.
pub(crate) fn run(data: &[u8]) {
    let Some((sort, said)) = data.split_first() else {
        return;
    };
    match sort % 4 {
        0 => {
            // Nothing that a page says costs more than to read it.
            if let Ok(text) = std::str::from_utf8(said) {
                let _ = said::text(text);
                let _ = said::place(text);
            }
        }
        1 => {
            if let Some((offset, bytes)) = said::input(said) {
                assert!(bytes.len() <= INPUT);
                assert!(offset.checked_add(bytes.len() as u64).is_some());
                assert_eq!(&said[said.len() - bytes.len()..], bytes);
            }
        }
        2 => {
            if let Some(entry) = std::str::from_utf8(said).ok().and_then(Entry::parse) {
                assert!(entry.time.subsec_nanos() % 1000 == 0, "{entry:?}");
            }
        }
        _ => window(said),
    }
}

/// Whatever is sent and said to be shown, what is on its way is within the window.
fn window(steps: &[u8]) {
    let mut window = Window::default();
    let (mut sent, mut shown) = (0_u64, 0_u64);
    for step in steps.chunks_exact(3) {
        let amount = u64::from(u16::from_be_bytes([step[1], step[2]]));
        match step[0] % 4 {
            0 => {
                let count = amount.min(window.room() as u64);
                if count > 0 {
                    window.sent(sent, count);
                    sent += count;
                }
            }
            // A gap.
            1 => sent += amount << 16,
            2 => {
                shown = shown.saturating_add(amount);
                window.shown(shown);
            }
            _ => window.shown(u64::from(step[1]) << 50 | amount),
        }
        assert!(window.room() as u64 <= WINDOW);
    }
    window.shown(u64::MAX);
    assert_eq!(window.room() as u64, WINDOW, "all is shown");
}
