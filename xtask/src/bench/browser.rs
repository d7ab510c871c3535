//! Chromium with a page open, driven by a program of the page's (`page/tests/measure.mjs`): it
//! takes a JSON value a line, and answers each with one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::sh::{self, Result};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(300);

pub(super) struct Browser {
    child: Child,
    asked: ChildStdin,
    answers: Receiver<Value>,
    seen: Arc<AtomicU64>,
}

impl Browser {
    pub(super) fn start() -> Result<Self> {
        let page = sh::root().join("crates/chardev-web/page");
        if !page.join("node_modules/playwright-core").is_dir() {
            return Err("there is nothing that drives a browser: run ./setup".into());
        }
        let mut child = Command::new(sh::need("node", "run ./setup")?)
            .arg("tests/measure.mjs")
            .current_dir(page)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asked = child.stdin.take().ok_or("no standard input")?;
        let said = child.stdout.take().ok_or("no standard output")?;
        let (sender, answers) = channel();
        let seen = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&seen);
        // It ends with the program, and what it hears after this value is dropped is for nobody.
        thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(|line| line.ok()) {
                let Ok(value) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                match value["seen"].as_u64() {
                    Some(bytes) => counted.store(bytes, Ordering::Relaxed),
                    None => drop(sender.send(value)),
                }
            }
        });
        Ok(Browser {
            child,
            asked,
            answers,
            seen,
        })
    }

    /// Has something done, and returns what it says of it.
    pub(super) fn ask(&mut self, what: &Value) -> Result<Value> {
        writeln!(self.asked, "{what}")?;
        let answer = self.answers.recv_timeout(LIMIT);
        let mut answer = answer.map_err(|_| format!("the browser does not answer {what}"))?;
        match answer.get("error") {
            Some(error) => Err(format!("the browser: {error}").into()),
            None => Ok(answer["answer"].take()),
        }
    }

    /// How many bytes the open console's terminal has shown since it was opened.
    pub(super) fn seen(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.seen)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends its browser when there is nobody to ask it; a hang is ended.
        let _ = writeln!(self.asked, "null");
        if crate::wait::within(Duration::from_secs(10), || {
            self.child.try_wait().transpose()
        })
        .is_none()
        {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
