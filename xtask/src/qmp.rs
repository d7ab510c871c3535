//! A QMP client of a few lines, blocking, for timing commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::sh::Result;

/// How long an answer may take before the server counts as stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    lines: BufReader<UnixStream>,
    line: String,
}

impl Client {
    /// Connects and negotiates.
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .map_err(|e| format!("cannot connect to the monitor {}: {e}", path.display()))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut client = Client {
            lines: BufReader::new(stream),
            line: String::new(),
        };
        let greeting = client.receive()?;
        if greeting.get("QMP").is_none() {
            return Err(format!("{}: not a QMP greeting: {greeting}", path.display()).into());
        }
        client.execute("qmp_capabilities", json!({}))?;
        Ok(client)
    }

    /// Runs one command and returns its `return` member.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut text = json!({ "execute": command, "arguments": arguments }).to_string();
        text.push('\n');
        self.send(&text)?;
        self.answer(command)
    }

    /// How long one command takes, from its first byte to the last of its answer, and what it
    /// returns. Making the one and reading the other does not count.
    pub(crate) fn time(&mut self, command: &str, arguments: Value) -> Result<(Duration, Value)> {
        let text = json!({ "execute": command, "arguments": arguments }).to_string() + "\n";
        let begun = Instant::now();
        self.send(&text)?;
        self.skip_line()?;
        let took = begun.elapsed();
        match self.returned(command)? {
            Some(value) => Ok((took, value)),
            // An event came first.
            None => {
                let value = self.answer(command)?;
                Ok((begun.elapsed(), value))
            }
        }
    }

    /// Sends what may be several commands.
    pub(crate) fn send(&mut self, text: &str) -> Result {
        Ok(self.lines.get_mut().write_all(text.as_bytes())?)
    }

    /// The `return` member of the next answer, which is that of `command`.
    pub(crate) fn answer(&mut self, command: &str) -> Result<Value> {
        loop {
            self.skip_line()?;
            if let Some(value) = self.returned(command)? {
                return Ok(value);
            }
        }
    }

    /// The `return` member of the line that has come, if it is the answer to `command`.
    fn returned(&self, command: &str) -> Result<Option<Value>> {
        let mut answer: Value = serde_json::from_str(&self.line)?;
        if let Some(error) = answer.get("error") {
            return Err(format!("{command}: {}", error["desc"]).into());
        }
        Ok(answer.get_mut("return").map(Value::take))
    }

    /// The length of the next line.
    pub(crate) fn skip_line(&mut self) -> Result<usize> {
        self.line.clear();
        match self.lines.read_line(&mut self.line)? {
            0 => Err("the monitor closed the connection".into()),
            length => Ok(length),
        }
    }

    /// Takes exactly `length` bytes, whatever they say.
    pub(crate) fn skip(&mut self, length: usize) -> Result {
        let mut rest = (&mut self.lines).take(length as u64);
        match std::io::copy(&mut rest, &mut std::io::sink())? {
            got if got == length as u64 => Ok(()),
            _ => Err("the monitor closed the connection".into()),
        }
    }

    fn receive(&mut self) -> Result<Value> {
        self.skip_line()?;
        Ok(serde_json::from_str(&self.line)?)
    }
}
