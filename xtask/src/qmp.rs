//! A QMP client of a few lines, blocking, for timing commands.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

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
        self.lines.get_mut().write_all(text.as_bytes())?;
        loop {
            let mut answer = self.receive()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(format!("{command}: {}", error["desc"]).into());
            }
        }
    }

    fn receive(&mut self) -> Result<Value> {
        self.line.clear();
        if self.lines.read_line(&mut self.line)? == 0 {
            return Err("the monitor closed the connection".into());
        }
        Ok(serde_json::from_str(&self.line)?)
    }
}
