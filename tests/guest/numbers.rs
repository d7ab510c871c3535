//! Runs inside the guest of the tests with a real Linux: writes and checks numbered lines.
//!
//! `numbers write DEVICE BLOCK PAUSE STOP` writes blocks of BLOCK lines, pausing PAUSE µs between,
//! until the file STOP exists, then the line `END`. `numbers read DEVICE` reads until `END` and
//! says whether the lines before were 0, 1, 2 … without a gap. `numbers both` does both at once,
//! with one open file, and tells of the reading on standard error. `numbers pour DEVICE MIB` writes
//! as fast as it goes. `numbers line` copies one line of standard input, for the guest's shell,
//! whose own `read` begins anew when a child ends and forgets what it had of the line. One static
//! binary with nothing but `std` and the lines of `chardev-load`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use chardev_load::check::{Segment, Tally};
use chardev_load::lines::{Form, Lines, PADDED};

/// How long the reader waits for somebody on the host's side, and how soon it looks again: no call
/// of the driver waits for that. A read finds the end of the file, and polling reports a hang-up,
/// at once.
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
    let mut lines = Lines::new(Form::Padded);
    let mut bytes = vec![0; block as usize * PADDED];
    let mut count = 0;
    while !stop.exists() {
        lines.fill(&mut bytes);
        count += block;
        file.write_all(&bytes).map_err(|error| error.to_string())?;
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
    bytes.clear();
    lines.end(&mut |piece| bytes.extend_from_slice(piece));
    file.write_all(&bytes).map_err(|error| error.to_string())?;
    Ok(format!("wrote {count} lines"))
}

/// Reads up to the end, or to what is no next line.
fn read(mut file: File) -> Result<String, String> {
    let mut segment = Segment::new(Form::Padded);
    let mut buffer = [0; 65536];
    while segment.goes_on() && !segment.has_end() {
        let count = read_some(&mut file, &mut buffer)?;
        segment.push(&buffer[..count]);
    }
    let mut tally = Tally::new(Form::Padded);
    tally.append(segment);
    let verdict = tally.verdict();
    match verdict.is_clean() {
        true => Ok(format!("read {} lines", verdict.lines)),
        false => Err(format!("{verdict:?} {:?}", tally.samples())),
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
