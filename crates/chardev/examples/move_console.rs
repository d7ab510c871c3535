//! A console moves from a pty to a socket, and what was printed goes along.

use std::io::Read;
use std::os::unix::net::UnixStream;

use chardev::Chardevs;
use chardev::backends::{Pty, Unix};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chardevs = Chardevs::new()?;
    let pty = chardevs.blocking_add("con0", Pty::new().history(4096))?;
    println!("the console is at {}", pty.pty.unwrap_or_default());
    let console = chardevs.attach("con0")?;
    console.write(b"printed while nobody was there\n");
    let path = std::env::temp_dir().join(format!("console-{}", std::process::id()));
    chardevs.blocking_change("con0", Unix::listen(&path))?;
    let mut seen = [0; 31];
    UnixStream::connect(&path)?.read_exact(&mut seen)?;
    assert_eq!(&seen, b"printed while nobody was there\n");
    Ok(())
}
