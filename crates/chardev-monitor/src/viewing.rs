//! The commands about stored output and its viewers.

use chardev::back::FdSource;
use chardev::{ViewFrom, Watch, Watching};
use chardev_qapi::{Json, Object, QmpError};
use chardev_qmp::ringbuf::{self, Format};

use crate::access::Role;
use crate::caller::Caller;
use crate::stats::with_epoch;

/// Bytes in an answer if the client does not say, and at most.
const HISTORY_DEFAULT: usize = 64 << 10;
const HISTORY_LIMIT: usize = 256 << 10;

impl Caller {
    /// `x-chardev-watch`
    pub(crate) fn watch(&self, id: &str, fdname: &str, watch: Watch) -> Result<Json, QmpError> {
        let fd = self.fds.take(fdname)?;
        // A refused descriptor keeps its name.
        let watched = match fd.try_clone() {
            Ok(copy) => self.service.chardevs.watch(id, copy, &watch),
            Err(error) => return Err(format!("Failed to duplicate '{fdname}': {error}").into()),
        };
        match watched {
            Ok(watching) => {
                let answer = with_epoch(Object::new(), watching.epoch());
                let answer = answer.with("offset", watching.offset());
                self.keep_to_rights(id, watching);
                Ok(answer.into())
            }
            Err(error) => {
                self.fds.give_back(fdname, fd);
                Err(QmpError::because(error))
            }
        }
    }

    /// Ends a viewer once the client may not look any more, as nobody comes back to ask.
    fn keep_to_rights(&self, id: &str, watching: Watching) {
        let (id, access) = (id.to_owned(), self.service.access.clone());
        let (identity, who) = (self.client.identity(), self.client.full_title());
        self.service.monitors.runtime().spawn(async move {
            tokio::select! {
                () = watching.ended() => return,
                () = access.lost(&identity, Role::View, &id) => watching.revoke(),
            }
            tracing::info!(
                target: "chardevd::audit",
                console = id,
                event = "revoked",
                "{who} may not look at '{id}' any more"
            );
        });
    }

    /// `x-chardev-history`
    pub(crate) fn history(
        &self,
        id: &str,
        from: ViewFrom,
        size: Option<i64>,
        format: Format,
    ) -> Result<Json, QmpError> {
        let size = match size.map(usize::try_from) {
            None => HISTORY_DEFAULT,
            Some(Ok(size)) if size > 0 => size.min(HISTORY_LIMIT),
            Some(_) => return Err("size must be greater than zero".into()),
        };
        let history = self.service.chardevs.history(id, from, size);
        let history = history.map_err(QmpError::because)?;
        let bytes = match format {
            Format::Base64 => &history.bytes[..],
            Format::Utf8 => whole_characters(&history.bytes),
        };
        let contents = match format {
            Format::Base64 => ringbuf::encode(bytes.to_vec().into(), format),
            Format::Utf8 => Json::Str(String::from_utf8_lossy(bytes).into_owned()),
        };
        Ok(with_epoch(Object::new(), history.epoch)
            .with("contents", contents)
            .with("start", history.start)
            .with("next", history.start + bytes.len() as u64)
            .with("oldest", history.oldest)
            .with("end", history.end)
            .into())
    }
}

/// Where to begin, as clients say it.
pub(crate) fn view_from(from: Option<i64>, default: ViewFrom) -> ViewFrom {
    match from {
        None => default,
        Some(from) => match u64::try_from(from) {
            Ok(offset) => ViewFrom::Offset(offset),
            Err(_) => ViewFrom::Last(from.unsigned_abs()),
        },
    }
}

/// `bytes` without a last character of which only the beginning is there, unless that is all.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    // What can be completed is at most three bytes long.
    let begun = (1..=bytes.len().min(3)).find(|count| {
        let end = std::str::from_utf8(&bytes[bytes.len() - count..]);
        end.is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    });
    match bytes.len() - begun.unwrap_or(0) {
        0 => bytes,
        count => &bytes[..count],
    }
}

#[cfg(test)]
mod tests {
    use super::whole_characters;

    #[test]
    fn text_is_cut_between_characters() {
        for (bytes, count) in [
            (&b"abc"[..], 3),
            (b"", 0),
            ("a\u{e9}".as_bytes(), 3),
            (b"a\xc3", 1),
            (b"a\xf0\x9f\x98", 1),
            (b"a\xff", 2),
            (b"a\x80", 2),
            (b"\xc3", 1),
            (b"a\xc3\xc3", 2),
        ] {
            assert_eq!(whole_characters(bytes).len(), count, "{bytes:?}");
        }
    }
}
