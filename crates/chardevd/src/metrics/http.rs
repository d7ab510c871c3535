//! As much of HTTP/1.1 as a scraper needs: one GET a connection. A crate for servers would bring
//! thirty others along for that.
//!
//! A client has a deadline and a limit for what it says, and few are served at a time; the rest
//! waits in the kernel's queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::text::{Format, text};
use super::{Listener, Source};

/// How many clients are served at a time.
const CLIENTS: usize = 16;
/// How long a client may take to ask, and then to take the answer.
const LIMIT: Duration = Duration::from_secs(5);
/// How long a request may be.
const HEAD: usize = 8 << 10;
/// How long to rest when the process is out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves whoever connects, for as long as it is polled.
pub(super) async fn serve(listener: Listener, source: &Source) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut clients = JoinSet::new();
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while clients.try_join_next().is_some() {}
        let source = source.clone();
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(client, _)| {
                clients.spawn(async move {
                    let _place = place;
                    answer(client, &source).await;
                });
            }),
            Listener::Unix(listener) => listener.accept().await.map(|(client, _)| {
                clients.spawn(async move {
                    let _place = place;
                    answer(client, &source).await;
                });
            }),
        };
        if accepted.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn answer(mut client: impl AsyncRead + AsyncWrite + Unpin, source: &Source) {
    // Who says nothing gets no answer.
    let Ok(Some(asked)) = tokio::time::timeout(LIMIT, read_head(&mut client)).await else {
        return;
    };
    let answer = respond(&asked, source);
    let send = async {
        client.write_all(&answer).await?;
        client.shutdown().await
    };
    // A client that does not take it is left.
    let _ = tokio::time::timeout(LIMIT, send).await;
}

/// What a client said up to an empty line, or the first part of what is too long.
async fn read_head(client: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !is_whole(&head) && head.len() < HEAD {
        let room = u64::try_from(HEAD - head.len()).ok()?;
        match client.take(room).read_buf(&mut head).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
    Some(head)
}

fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n")
}

fn respond(head: &[u8], source: &Source) -> Vec<u8> {
    const PLAIN: &str = "text/plain; charset=utf-8";
    let said = String::from_utf8_lossy(head);
    let mut lines = said.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let asked = (words.next(), words.next(), words.next());
    let (status, kind, body) = match asked {
        _ if !is_whole(head) => (
            "431 Request Header Fields Too Large",
            PLAIN,
            "a request has 8 KiB at most\n".to_owned(),
        ),
        (Some("GET"), Some(path), Some("HTTP/1.1" | "HTTP/1.0")) => match path.split('?').next() {
            Some("/metrics") => {
                let format = Format::wanted(lines);
                ("200 OK", format.kind(), text(source, format))
            }
            _ => ("404 Not Found", PLAIN, "see /metrics\n".to_owned()),
        },
        (Some(_), Some(_), Some("HTTP/1.1" | "HTTP/1.0")) => (
            "405 Method Not Allowed\r\nAllow: GET",
            PLAIN,
            "only GET is answered\n".to_owned(),
        ),
        _ => ("400 Bad Request", PLAIN, "this is no HTTP/1.1\n".to_owned()),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
