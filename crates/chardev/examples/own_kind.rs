//! A kind of back end of your own: `lines` prints each line of the console with a word before it.
//!
//! ```text
//! cargo run -p chardev --example own_kind
//! ```
//!
//! What is needed: a [`Backend`] (which implements only what it has), an `open` function, and a
//! `static` [`Kind`] with the options. QMP, the command line, help lists and the schema follow from
//! that table.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev::back::{Kind, OpenContext, Opening};
use chardev::spec::{
    Expected, KindSpec, OptionSpec, OptionType, OptionValue, Options, ParameterError,
};
use chardev::{Backend, Chardevs, Drain, NothingToDrain, Ready, Sent};

/// The longest line that is kept until its end comes.
const LINE_LIMIT: usize = 4096;

static LINES: Kind = Kind {
    spec: KindSpec::new(
        "lines",
        "prints each line of output",
        &[OptionSpec::new(
            "prefix",
            OptionType::Str,
            "what to print before each line (default: the name of the chardev)",
        )],
    ),
    open,
};

/// Nothing of a running back end may be touched here: the change may still be refused.
fn open<'a>(options: &'a Options, context: &'a OpenContext) -> Opening<'a> {
    Box::pin(async move {
        let prefix = options.str("prefix").unwrap_or(context.port.label());
        if prefix.contains('\n') {
            let expected = Expected::Other("one line");
            return Err(ParameterError::expects("prefix", expected).into());
        }
        Ok(Box::new(Lines {
            prefix: prefix.to_owned(),
            begun: Vec::new(),
        }) as Box<dyn Backend>)
    })
}

struct Lines {
    prefix: String,
    /// A line whose end has not come.
    begun: Vec<u8>,
}

impl Lines {
    fn print(&mut self) {
        let line = String::from_utf8_lossy(&self.begun);
        println!("{}: {}", self.prefix, line.trim_end());
        self.begun.clear();
    }
}

impl Backend for Lines {
    fn kind(&self) -> &'static str {
        LINES.spec.name
    }

    fn filename(&self) -> String {
        format!("lines:{}", self.prefix)
    }

    /// It always takes output.
    fn is_open(&self) -> bool {
        true
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        for byte in bufs.iter().flat_map(|buf| buf.iter()) {
            self.begun.push(*byte);
            if *byte == b'\n' || self.begun.len() == LINE_LIMIT {
                self.print();
            }
        }
        Sent::Taken(bufs.iter().map(|buf| buf.len()).sum())
    }

    fn read(&mut self, _bufs: &mut [IoSliceMut<'_>]) -> usize {
        0
    }

    /// It is always ready to take output and never has input, so there is nothing to wait for. A
    /// kind that waits calls [`Port::kick`](chardev::Port::kick) when the waiting is over.
    fn watch(&mut self, _interest: Ready) {}

    /// What was accepted is printed, whatever comes next.
    fn retire(mut self: Box<Self>) -> Box<dyn Drain> {
        if !self.begun.is_empty() {
            self.print();
        }
        Box::new(NothingToDrain)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chardevs = Chardevs::with_kinds(&[&LINES])?;
    let ring = Options::new("ringbuf");
    chardevs.block_on(chardevs.add("con0", &ring))?;
    let console = chardevs.front_end("con0", Arc::new(()))?;
    console.write(b"kept in the ring\n");

    // What nobody has read of the ring goes to the new back end first.
    let lines = Options::new("lines").with("prefix", OptionValue::Str("guest".to_owned()));
    chardevs.block_on(chardevs.change("con0", &lines))?;
    console.write(b"printed at once\nprinted at");

    chardevs.block_on(chardevs.change("con0", &ring))?;
    console.write(b" the end\n");
    assert_eq!(chardevs.ring_read("con0", 100)?, b" the end\n");
    Ok(())
}
