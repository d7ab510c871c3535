//! front → [chardev: scrollback] → viewer → host: somebody who is attached, shared with others.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use chardev::{Chardevs, Slow, ViewFrom, Watch};
use chardev_qapi::QmpError;
use rustix::net::{SocketType, sockopt};
use tokio::net::UnixStream;
use tokio::runtime::Handle;

/// The most bytes on their way in one direction.
const BUFFER: usize = 16 << 10;
/// The first and the longest pause before input is offered again to a front end that is full.
const PAUSE: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];

/// Makes `fd` a viewer of chardev `id` that `may_type`, from the offset that is returned on. The
/// future ends when it has left or the chardev is gone; dropping it ends the connection.
///
/// # Errors
/// It is no stream socket, there is no such chardev, or there are too many viewers.
pub(super) fn begin(
    chardevs: &Chardevs,
    runtime: &Handle,
    id: &str,
    fd: OwnedFd,
    may_type: bool,
) -> Result<(impl Future<Output = ()> + Send + use<>, u64), QmpError> {
    if sockopt::socket_type(&fd) != Ok(SocketType::STREAM) {
        return Err("the attached descriptor must be a connected stream socket".into());
    }
    let failed = |error: std::io::Error| format!("Failed to attach to '{id}': {error}");
    let (seen, theirs) = StdStream::pair().map_err(failed)?;
    let client = StdStream::from(fd);
    for stream in [&seen, &client] {
        stream.set_nonblocking(true).map_err(failed)?;
    }
    let (seen, client) = {
        let _on = runtime.enter();
        let seen = UnixStream::from_std(seen).map_err(failed)?;
        (seen, UnixStream::from_std(client).map_err(failed)?)
    };
    let watch = Watch {
        from: ViewFrom::Now,
        slow: Slow::Skip,
        framed: false,
    };
    let viewer = chardevs.watch(id, theirs.into(), &watch);
    let offset = viewer.map_err(QmpError::because)?.offset();
    let (chardevs, id) = (chardevs.clone(), id.to_owned());
    let relay = async move {
        tokio::select! {
            () = show(&seen, &client) => {}
            () = take_typed(&client, &chardevs, &id, may_type) => {}
        }
    };
    Ok((relay, offset))
}

/// Until the chardev ends, or the client takes nothing more.
async fn show(seen: &UnixStream, client: &UnixStream) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(count @ 1..) = read(seen, &mut buffer).await {
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            if client.writable().await.is_err() {
                return;
            }
            match client.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if is_passing(&error) => {}
                Err(_) => return,
            }
        }
    }
}

async fn read(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(error) if is_passing(&error) => {}
            result => return result,
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Until the client ends its sending, which is how it leaves.
async fn take_typed(client: &UnixStream, chardevs: &Chardevs, id: &str, may_type: bool) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(count @ 1..) = read(client, &mut buffer).await {
        let mut rest = &buffer[..count];
        let mut pause = PAUSE[0];
        while may_type && !rest.is_empty() {
            let Some(taken) = chardevs.type_in(id, rest) else {
                return;
            };
            rest = &rest[taken..];
            if taken > 0 {
                pause = PAUSE[0];
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE[1]);
            }
        }
    }
}
