//! Runs inside the guest of the tests with a real Linux: writes and checks numbered lines.
//!
//! `numbers write DEVICE BLOCK PAUSE STOP` writes blocks of BLOCK lines, pausing PAUSE µs between,
//! until the file STOP exists, then the line `END`. `numbers read DEVICE` reads until `END` and says
//! whether the lines before were 0, 1, 2 … without a gap. `numbers both` does both at once, with one
//! open file, and tells of the reading on standard error. `numbers pour DEVICE MIB` writes as fast as
//! it goes. `numbers line` copies one line of standard input, for the guest's shell, whose own `read`
//! begins anew when a child ends and forgets what it had of the line. One static binary with nothing
//! but `std`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The length of a line: ten digits and the line feed.
const LINE: usize = 11;
/// How long the reader waits for somebody on the host's side, and how soon it looks again: no call of
/// the driver waits for that. A read finds the end of the file, and polling reports a hang-up, at once.
const NOBODY: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["write", device, block, pause, stop] => {
            open(device).and_then(|file| write(file, block, pause, Path::new(stop)))
        }
        ["read", device] => open(device).and_then(read),
        ["both", device, block, pause, stop] => both(device, block, pause, Path::new(stop)),
        ["pour", device, mebibytes] => pour(device, mebibytes),
        ["line"] => line(),
        _ => Err("usage: numbers write|both DEVICE BLOCK PAUSE STOP | read DEVICE | pour DEVICE MIB | line".to_owned()),
    };
    match outcome {
        Ok(said) => println!("{said}"),
        Err(error) => {
            println!("numbers: {error}");
            std::process::exit(1);
        }
    }
}

/// Takes no byte behind the line.
fn line() -> Result<String, String> {
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let mut input = File::from(input.map_err(|error| error.to_string())?);
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        input.read_exact(&mut byte).map_err(|error| format!("standard input: {error}"))?;
        if byte == *b"\n" {
            return String::from_utf8(line).map_err(|error| error.to_string());
        }
        line.extend(byte);
    }
}

fn open(device: &str) -> Result<File, String> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).open(device);
    file.map_err(|error| format!("{device}: {error}"))
}

fn both(device: &str, block: &str, pause: &str, stop: &Path) -> Result<String, String> {
    let file = open(device)?;
    let reader = file.try_clone().map_err(|error| error.to_string())?;
    let reader = std::thread::spawn(move || match read(reader) {
        Ok(said) => eprintln!("{said}"),
        Err(error) => eprintln!("numbers: {error}"),
    });
    let said = write(file, block, pause, stop)?;
    reader.join().map_err(|_| "the reader panicked".to_owned())?;
    Ok(said)
}

fn write(mut file: File, block: &str, pause: &str, stop: &Path) -> Result<String, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let (block, pause) = (number(block)?, Duration::from_micros(number(pause)?));
    let mut line = 0_u64;
    let mut bytes = Vec::new();
    while !stop.exists() {
        bytes.clear();
        for _ in 0..block {
            bytes.extend_from_slice(format!("{line:010}\n").as_bytes());
            line += 1;
        }
        file.write_all(&bytes).map_err(|error| error.to_string())?;
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
    file.write_all(b"END\n").map_err(|error| error.to_string())?;
    Ok(format!("wrote {line} lines"))
}

fn read(mut file: File) -> Result<String, String> {
    let mut expected = 0_u64;
    let mut rest = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        let count = read_some(&mut file, &mut buffer)?;
        rest.extend_from_slice(&buffer[..count]);
        let mut start = 0;
        while let Some(length) = rest[start..].iter().position(|byte| *byte == b'\n') {
            let line = &rest[start..start + length];
            start += length + 1;
            if line == b"END" {
                return Ok(format!("read {expected} lines"));
            }
            let number = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok());
            if number != Some(expected) || length + 1 != LINE {
                let line = String::from_utf8_lossy(line);
                return Err(format!("line {expected} is {line:?}"));
            }
            expected += 1;
        }
        rest.drain(..start);
    }
}

/// What is there, as soon as there is something.
fn read_some(file: &mut File, buffer: &mut [u8]) -> Result<usize, String> {
    let deadline = Instant::now() + NOBODY;
    loop {
        match file.read(buffer).map_err(|error| error.to_string())? {
            0 if Instant::now() > deadline => {
                return Err(format!("nobody was on the host's side for {NOBODY:?}"));
            }
            0 => std::thread::park_timeout(LOOK_AGAIN),
            count => return Ok(count),
        }
    }
}

/// Writes as fast as it goes, for a measurement from outside.
fn pour(device: &str, mebibytes: &str) -> Result<String, String> {
    let count: usize = mebibytes.parse().map_err(|error| format!("{mebibytes}: {error}"))?;
    let mut file = open(device)?;
    let block = vec![b'x'; 64 << 10];
    for _ in 0..count * 16 {
        file.write_all(&block).map_err(|error| format!("{device}: {error}"))?;
    }
    Ok(format!("poured {count} MiB"))
}
