//! A bare client of the page's stream of a console, and a WebSocket that gives back what it is
//! sent.

use std::net::{TcpListener, TcpStream};
use std::thread;

use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use super::site::{LIMIT, Session};
use crate::sh::Result;

/// So much is shown before it is said, as by the page.
pub(super) const ACK: u64 = 64 << 10;

pub(super) struct Stream {
    socket: WebSocket<TcpStream>,
    /// Where what is typed next is.
    typed: u64,
    /// Where the output ends that has come, and the end of what was acknowledged.
    pub(super) at: u64,
    acked: u64,
}

impl Stream {
    pub(super) fn open(session: &Session, id: &str, query: &str) -> Result<Self> {
        let address = session.address;
        let url = format!("ws://{address}/api/v1/consoles/{id}/stream?{query}");
        let mut request = url.into_client_request()?;
        let origin = format!("http://{address}");
        for (name, value) in [("Origin", &origin), ("Cookie", &session.cookie)] {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_str(value)?);
        }
        let client = TcpStream::connect(address)?;
        client.set_read_timeout(Some(LIMIT))?;
        client.set_nodelay(true)?;
        let socket = tungstenite::client(request, client);
        let (socket, _) = socket.map_err(|error| format!("no stream: {error}"))?;
        Ok(Stream {
            socket,
            typed: 0,
            at: 0,
            acked: 0,
        })
    }

    /// The connection, from here on without a limit of its own.
    pub(super) fn into_socket(self) -> WebSocket<TcpStream> {
        self.socket
    }

    /// Takes output until some has come, and says so as the page would.
    pub(super) fn output(&mut self) -> Result<usize> {
        loop {
            let Message::Binary(frame) = self.socket.read()? else {
                continue;
            };
            let (offset, output) = frame.split_first_chunk().ok_or("a frame has no offset")?;
            self.at = u64::from_be_bytes(*offset) + output.len() as u64;
            let count = output.len();
            if self.at - self.acked >= ACK || count < 100 {
                self.acked = self.at;
                let shown = format!("{{\"ack\": {}}}", self.at);
                self.socket.send(Message::text(shown))?;
            }
            return Ok(count);
        }
    }

    /// Types a byte and waits for its echo.
    pub(super) fn press(&mut self) -> Result {
        let frame = [&self.typed.to_be_bytes()[..], b"x"].concat();
        self.typed += 1;
        self.socket.send(Message::binary(frame))?;
        self.output().map(drop)
    }
}

/// Listens where it says, and gives back every message of its clients.
pub(super) fn echo_server() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    // It ends with the process.
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let _ = client.set_nodelay(true);
            let Ok(mut socket) = tungstenite::accept(client) else {
                continue;
            };
            while let Ok(message) = socket.read() {
                if message.is_binary() && socket.send(message).is_err() {
                    break;
                }
            }
        }
    });
    Ok(port)
}
