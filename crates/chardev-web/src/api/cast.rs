//! What was printed, as an asciicast of version 3.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use chardev::ViewFrom;
use chardev_logs::Printed;
use chardev_monitor::{Json, Object};

use crate::error::Failure;
use crate::kept::{Kept, unread};
use crate::site::Site;

/// The most output of a recording.
const MOST: u64 = 16 << 20;
/// The size of its terminal where none is known.
const SIZE: (u16, u16) = (80, 24);

/// The recording from `from` on, of `size` bytes at most.
pub(super) async fn answer(
    site: &Site,
    kept: Kept,
    id: &str,
    from: ViewFrom,
    size: Option<usize>,
) -> Result<Response, Failure> {
    let details = site.server.chardevs().details(id);
    let size_of = details.and_then(|details| details.size);
    let terminal = size_of.map_or(SIZE, |size| (size.cols, size.rows));
    let title = id.to_owned();
    let most = size.map_or(MOST, |size| (size as u64).min(MOST));
    let work = move || record(&kept, &title, terminal, from, most);
    let cast = site.blocking.run(work).await??;
    let kind = [(header::CONTENT_TYPE, "application/x-asciicast")];
    Ok((kind, cast).into_response())
}

/// Writes it. What no log has a time for is printed at the time of what comes before it.
fn record(
    kept: &Kept,
    title: &str,
    (cols, rows): (u16, u16),
    from: ViewFrom,
    most: u64,
) -> Result<String, Failure> {
    let first = kept.read(from, 1)?;
    let (begin, end) = (first.start, first.end.min(first.start.saturating_add(most)));
    let book = kept.book().map_err(unread)?;
    let printed = book.printed(begin, end).map_err(unread)?;
    let (start, bytes) = kept.read_all(begin, end)?;
    let began = printed.first().map(|first| first.time);
    let mut header = Object::new()
        .with("version", 3_i64)
        .with(
            "term",
            Object::new()
                .with("cols", u64::from(cols))
                .with("rows", u64::from(rows)),
        )
        .with("title", title);
    if let Some(began) = began {
        header.insert("timestamp", began.as_secs());
    }
    let mut cast = format!("{}\n", Json::from(header));
    let mut before = began.unwrap_or_default();
    let mut rest = Vec::new();
    for (time, piece) in pieces(&printed, start, &bytes) {
        rest.extend_from_slice(piece);
        let text = take_text(&mut rest);
        if text.is_empty() {
            continue;
        }
        let time = time.max(before);
        let pause = (time - before).as_secs_f64();
        before = time;
        cast += &format!("[{pause:.6}, \"o\", {}]\n", Json::from(text));
    }
    if !rest.is_empty() {
        let text = String::from_utf8_lossy(&rest).into_owned();
        cast += &format!("[0.000000, \"o\", {}]\n", Json::from(text));
    }
    Ok(cast)
}

/// The output cut where a time is known.
fn pieces<'a>(
    printed: &'a [Printed],
    start: u64,
    bytes: &'a [u8],
) -> impl Iterator<Item = (std::time::Duration, &'a [u8])> {
    let place = move |offset: u64| {
        let place = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
        place.min(bytes.len())
    };
    let ends = printed.iter().skip(1).map(move |next| place(next.offset));
    let ends = ends.chain([bytes.len()]);
    let first = printed.first().map_or(0, |first| place(first.offset));
    let untimed = printed
        .first()
        .map_or(std::time::Duration::ZERO, |first| first.time);
    let timed = printed.iter().zip(ends).map(move |(line, end)| {
        let begin = place(line.offset).min(end);
        (line.time, &bytes[begin..end])
    });
    let all = if printed.is_empty() {
        bytes.len()
    } else {
        first
    };
    [(untimed, &bytes[..all])].into_iter().chain(timed)
}

/// The text that is whole; a character that has only begun stays.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut done = 0;
    for chunk in bytes.utf8_chunks() {
        text += chunk.valid();
        done += chunk.valid().len();
        let invalid = chunk.invalid();
        if invalid.is_empty() {
            continue;
        }
        let is_begun = done + invalid.len() == bytes.len()
            && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
        if is_begun {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        done += invalid.len();
    }
    bytes.drain(..done);
    text
}

#[cfg(test)]
mod tests {
    use super::take_text;

    #[test]
    fn characters_are_not_cut() {
        let mut bytes = b"a\xffb\xc3".to_vec();
        assert_eq!(take_text(&mut bytes), "a\u{fffd}b");
        assert_eq!(bytes, b"\xc3");
        bytes.push(0xa9);
        assert_eq!(take_text(&mut bytes), "\u{e9}");
        assert_eq!(bytes, b"");
    }
}
