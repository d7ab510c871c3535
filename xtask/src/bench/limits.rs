//! What the machine itself can do, for comparison with a relay.

use std::hint::black_box;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use super::relay::{BLOCK, GIB, consume, gib_per_s, produce};
use super::report;
use crate::sh::Result;

/// As large as the blocks of the relays, and so large that few caches hold it.
const CACHED: usize = 256 << 10;
const UNCACHED: usize = 256 << 20;

pub(crate) fn table(gib: u64) -> Result<String> {
    let bytes = gib * GIB;
    let (unix_in, unix_out) = UnixStream::pair()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let tcp_in = TcpStream::connect(listener.local_addr()?)?;
    let (tcp_out, _) = listener.accept()?;
    let rows = [
        ("memcpy of 256 KiB, in the cache", copy(CACHED, bytes)),
        ("memcpy of 256 MiB, through memory", copy(UNCACHED, bytes)),
        (
            "one unix socket pair, write and read",
            stream(unix_in, unix_out, bytes)?,
        ),
        (
            "one TCP connection on loopback, write and read",
            stream(tcp_in, tcp_out, bytes)?,
        ),
    ];
    let rows = rows.map(|(what, rate)| vec![what.to_string(), format!("{rate:.2}")]);
    let header = ["limit", "GiB/s"];
    Ok(report::table("Limits of this machine", &header, &rows))
}

fn copy(size: usize, bytes: u64) -> f64 {
    let source = vec![1; size];
    let mut target = vec![2; size];
    let start = Instant::now();
    let mut copied = 0;
    while copied < bytes {
        target.copy_from_slice(black_box(&source));
        black_box(&mut target);
        copied += size as u64;
    }
    gib_per_s(copied, start.elapsed())
}

fn stream<T>(input: T, mut output: T, bytes: u64) -> Result<f64>
where
    T: std::io::Read + std::io::Write + Send + 'static,
{
    let start = Instant::now();
    let producer = thread::spawn(move || produce(input, &[b'x'; BLOCK], bytes));
    consume(&mut output, bytes)?;
    let elapsed = start.elapsed();
    producer.join().map_err(|_| "the producer panicked")??;
    Ok(gib_per_s(bytes, elapsed))
}
